"""What is stored, and how is it found again?"""

from __future__ import annotations

from random import Random
from typing import Any, Iterator

from proxyd.policy import cachestore, purging
from proxyd.policy.cachekey import chosen_by
from proxyd.policy.cachestore import OVERHEAD, VARIANTS, Elsewhere, Memory, Stored, tags_of
from proxyd.policy.encoding import VARIES, Decision
from proxyd.policy.freshness import Terms
from proxyd.wire.httpfields import Field, parse_field
from tests.support.case import Case

TERMS = Terms(60.0, 0.0)


def fields(*lines: bytes) -> list[Field]:
    return [parse_field(line) for line in lines]


def made(
    url: bytes = b"http://a/", body: bytes = b"x", *lines: bytes, way: bytes = b"p", **by: bytes
) -> Stored:
    """An answer; ``by`` are the fields of the request that it goes by."""
    names = tuple(sorted(name.encode() for name in by))
    asked = fields(*(name.encode() + b": " + value for name, value in by.items()))
    return Stored(url, way, names, chosen_by(names, asked), 200, b"OK", fields(*lines), body, TERMS)


class Stores(Case):
    def setUp(self) -> None:
        self.store = Memory(1 << 20)

    def body(self, url: bytes = b"http://a/", *lines: bytes, way: bytes = b"p") -> Any:
        found = self.store.find(url, way, fields(*lines))
        return found.body if found is not None else None

    def test_found(self) -> None:
        """By its URL and its way, and no other."""
        self.store.put(made())
        self.assertEqual(self.body(), b"x")
        self.assertIsNone(self.body(b"http://b/"))
        self.assertIsNone(self.body(way=b"q"))

    def test_variants(self) -> None:
        """By what its Vary names; the newest, if several are answers."""
        self.store.put(made(body=b"one", x=b"1"))
        self.store.put(made(body=b"two", x=b"2"))
        self.assertEqual(self.body(b"http://a/", b"X: 1"), b"one")
        self.assertEqual(self.body(b"http://a/", b"X: 2"), b"two")
        self.assertIsNone(self.body(b"http://a/", b"X: 3"))
        self.assertIsNone(self.body())
        self.store.put(made(body=b"any"))
        self.assertEqual(self.body(b"http://a/", b"X: 1"), b"any")

    def test_the_new_one_replaces_the_old(self) -> None:
        """Of two answers to the same the later one stays, and the room of the other is free."""
        old, new = made(body=b"old"), made(body=b"new")
        self.store.put(old)
        self.store.put(new)
        self.assertEqual(self.body(), b"new")
        self.assertEqual((old.live, new.live, len(self.store)), (False, True, 1))
        self.assertEqual(self.store.used, new.size)

    def test_size(self) -> None:
        """Nothing is free: an empty answer takes room, too."""
        self.assertGreater(made(body=b"").size, OVERHEAD)
        self.assertEqual(made(body=bytes(5000)).size - made(body=b"").size, 5000)

    def test_bounded_variants(self) -> None:
        """A server that goes by what is never the same does not fill the table of one URL; the oldest go."""
        for number in range(3 * VARIANTS):
            self.store.put(made(x=b"%d" % number))
        self.assertEqual(len(self.store), VARIANTS)
        self.assertIsNone(self.body(b"http://a/", b"X: 0"))
        self.assertIsNotNone(self.body(b"http://a/", b"X: %d" % (3 * VARIANTS - 1)))

    def test_renewed(self) -> None:
        """What is still good has new fields and terms, and the body is the same object."""
        old = made(body=b"body")
        self.store.put(old)
        new = old.renewed(fields(b"X: 2"), Terms(99.0, 1.0))
        self.store.put(new)
        found = self.store.find(b"http://a/", b"p", [])
        self.assertIs(found, new)
        self.assertIs(new.body, old.body)
        self.assertEqual((new.terms.lifetime, len(self.store)), (99.0, 1))

    def test_tags(self) -> None:
        """Surrogate-Key has blanks between them, Cache-Tag commas."""
        self.assertEqual(
            tags_of(fields(b"Surrogate-Key: a b", b"Cache-Tag: c, d e")),
            frozenset([b"a", b"b", b"c", b"d e"]),
        )
        self.assertEqual(tags_of(fields(b"Cache-Tag: " + b"x" * 300)), frozenset())
        self.assertEqual(
            len(tags_of(fields(b"Surrogate-Key: " + b" ".join(b"%d" % n for n in range(999))))), 100
        )

    def test_purged(self) -> None:
        """By URL, by tag, and by the beginning of the URL."""
        for number in range(6):
            tag = b"Surrogate-Key: all n%d" % (number % 2)
            self.store.put(made(b"http://a/%d" % number, b"x", tag))
            self.store.put(made(b"http://a/%d" % number, b"x", tag, x=b"1"))
        self.assertEqual(self.store.purge_url(b"http://a/0"), 2)
        self.assertEqual(self.store.purge_url(b"http://a/0"), 0)
        self.assertEqual(list(self.store.purge_tag(b"n1")), [6])
        self.assertEqual(list(self.store.purge_tag(b"none")), [0])
        self.patch(cachestore, "PURGED_IN_A_STEP", 1)
        self.assertEqual(list(self.store.purge_prefix(b"http://a/2")), [2, 0])
        self.assertEqual(list(self.store.purge_prefix(b"http://")), [2])
        self.assertEqual(list(self.store.purge_prefix(b"http://")), [0])
        self.assertEqual((len(self.store), self.store.used), (0, 0))
        self.assertEqual((self.store._by_url, self.store._by_tag), ({}, {}))

    def test_purged_in_steps(self) -> None:
        """From the first moment on none is found that was purged; those that come later are."""
        self.patch(cachestore, "PURGED_IN_A_STEP", 3)
        random = Random(8)
        for _ in range(100):
            store, good = Memory(1 << 20), dict[bytes, Stored]()
            sweeps: list[Iterator[int]] = []
            for _ in range(200):
                what, number = random.random(), random.randrange(30)
                url = b"http://a/%d/%d" % (number % 3, number)
                if what < 0.5:
                    good[url] = made(url, b"x", b"Cache-Tag: %d" % (number % 4))
                    store.put(good[url])
                elif what < 0.55:
                    tag = b"%d" % random.randrange(4)
                    sweeps.append(store.purge_tag(tag))
                    good = {url: stored for url, stored in good.items() if tag not in stored.tags}
                elif what < 0.6:
                    prefix = b"http://a/%d" % random.randrange(3)
                    sweeps.append(store.purge_prefix(prefix))
                    good = {url: stored for url, stored in good.items() if not url.startswith(prefix)}
                elif sweeps:
                    sweep = random.choice(sweeps)
                    if next(sweep, None) is None:
                        sweeps.remove(sweep)
                self.assertIs(store.find(url, b"p", []), good.get(url))
            for sweep in sweeps:
                list(sweep)
            self.assertFalse(store.voids)
            self.assertEqual(len(store), len(good))

    def test_void(self) -> None:
        """What was purged is known to be, also when it is in the store no more; what has gone is not."""
        one, two, three = made(), made(b"http://b/", b"x", b"Cache-Tag: t"), made(b"http://c/")
        for stored in (one, two, three):
            self.store.put(stored)
        self.store.purge_url(b"http://a/")
        sweep = self.store.purge_tag(b"t")
        self.assertEqual([self.store.is_void(stored) for stored in (one, two, three)], [True, True, False])
        list(sweep)
        self.store.drop(three)
        self.assertEqual([self.store.is_void(stored) for stored in (one, two, three)], [True, True, False])

    def test_too_many_rules(self) -> None:
        """Who purges tag after tag, faster than it is swept, has all thrown away in the end."""
        self.patch(purging, "MOST_RULES", 2)
        self.store.put(made())
        sweeps = [self.store.purge_tag(b"%d" % number) for number in range(3)]
        self.assertIsNone(self.body())
        self.assertEqual([sum(sweep) for sweep in sweeps], [0, 0, 1])
        self.assertFalse(self.store.voids)

    def test_tables_agree(self) -> None:
        """Whatever is put, found, dropped and purged, nothing is left in one table that is not in all."""
        random = Random(6)
        store = Memory(40 * OVERHEAD)
        held: list[Stored] = []
        for _ in range(5000):
            what, url = random.random(), b"http://a/%d" % random.randrange(40)
            if what < 0.6:
                stored = made(url, b"x" * random.randrange(3000), b"Cache-Tag: %d" % random.randrange(9))
                store.put(stored)
                held.append(stored)
            elif what < 0.9:
                store.find(url, b"p", [])
            elif what < 0.95:
                list(store.purge_tag(b"%d" % random.randrange(9)))
            elif held:
                store.drop(random.choice(held))
            self.assertLessEqual(store.used, 40 * OVERHEAD)
        live = {stored for stored in held if stored.live}
        self.assertEqual(len(store), len(live))
        self.assertEqual(store.used, sum(stored.size for stored in live))
        self.assertEqual({each for variants in store._by_url.values() for each in variants}, live)
        self.assertEqual({each for tagged in store._by_tag.values() for each in tagged}, live)
        self.assertGreater(store.evicted, 0)


class InFile(Elsewhere):
    is_gone = False


class InMemory(Case):
    def test_elsewhere(self) -> None:
        """Bodies elsewhere take no memory; so many are held on to, and none that is there for us alone."""
        self.patch(cachestore, "MOST_ELSEWHERE", 3)
        memory = Memory(1 << 20)
        held = [made(b"http://a/%d" % number) for number in range(5)]
        for each in held:
            each.body = InFile(1 << 30)
        for stored in held:
            memory.put(stored)
        self.assertEqual([stored.live for stored in held], [False, False, True, True, True])
        self.assertLess(memory.used, 10_000)
        memory.vary(held[3], VARIES, held[3].body)
        self.assertLess(memory.used, 20_000)
        new = held[3].renewed([], TERMS)
        memory.put(new)
        held[4].body.is_gone = True  # type: ignore[misc, union-attr]
        memory.drop_gone()
        self.assertEqual([each.live for each in (*held[2:], new)], [True, False, False, True])
        self.assertEqual((len(memory), list(memory._elsewhere)), (2, [held[2], new]))

    def test_prepared(self) -> None:
        """What was prepared is kept of so many, and of none that is not stored any more."""
        self.patch(cachestore, "TOLD", 2)
        memory = Memory(1 << 20)
        held = [made(b"http://a/%d" % number) for number in range(4)]
        for stored in held[:3]:
            memory.put(stored)
            memory.prepared(stored, "told")
        self.assertEqual([stored.told for stored in held[:3]], [None, "told", "told"])
        memory.drop(held[1])
        memory.prepared(held[3], "told")
        self.assertEqual((held[1].told, list(memory._told)), (None, [held[2]]))

    def test_variants_of_compression(self) -> None:
        """They count, are renewed with their answer, and go with it."""
        memory, stored, coded = Memory(1 << 20), made(body=b"x" * 1000), Decision(encodes="gzip")
        memory.put(stored)
        before = memory.used
        variant = memory.vary(stored, coded, b"y" * 100)
        self.assertEqual((variant.body, variant.coding, variant.live), (b"y" * 100, "gzip", True))
        self.assertEqual(memory.used, before + variant.size)
        plain = memory.vary(stored, VARIES, stored.body)
        self.assertEqual(memory.used, before + variant.size + plain.size - 1000)
        memory.prepared(variant, "told")
        new = stored.renewed(fields(b"X: y"), TERMS)
        memory.put(new)
        self.assertEqual((variant.live, variant.told, stored.live), (False, None, False))
        renewed = new.variants[coded]
        self.assertEqual((renewed.body, renewed.live, renewed.fields[0]), (variant.body, True, new.fields[0]))
        self.assertIs(new.variants[VARIES].body, new.body)
        self.assertEqual(memory.used, new.size)
        memory.drop(new)
        self.assertEqual((memory.used, renewed.live), (0, False))
        self.assertFalse(memory.vary(new, coded, b"z").live)
        self.assertEqual(new.variants[coded], renewed)

    def test_variants_stay_within_the_budget(self) -> None:
        """What is too large with them is gone, and who has it goes on."""
        memory, stored = Memory(10_000), made(body=b"x" * 5000)
        memory.put(stored)
        variant = memory.vary(stored, Decision(encodes="gzip"), b"y" * 4000)
        self.assertEqual((variant.live, stored.live, memory.used, len(memory)), (False, False, 0, 0))
        self.assertEqual(len(variant.body), 4000)

    def test_held(self) -> None:
        """What is sent still, and is not the store's, counts; be it more than all that there is room for."""
        store = Memory(1_000_000)
        bodies = [made(b"http://a/%d" % number, bytes(600_000)) for number in range(3)]
        for each in bodies:
            store.put(each)
            store.hold(each)
            store.hold(each)
        self.assertEqual([each.live for each in bodies], [False, False, False])
        store.put(made())
        self.assertEqual((len(store), store.used), (0, 0))
        for each in bodies:
            store.part(each)
            store.part(each)
        store.put(made(b"http://a/", bytes(900_000)))
        self.assertEqual(len(store), 1)
