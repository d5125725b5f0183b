"""Makes ``twistd tcpproxy`` known to Twisted; the work is in `proxyd.tap`, loaded when it is asked for."""

from twisted.application.service import ServiceMaker

tcpproxy = ServiceMaker(
    "proxyd",
    "proxyd.tap",
    "A TCP reverse proxy and load balancer, configured by one ini file.",
    "tcpproxy",
)
