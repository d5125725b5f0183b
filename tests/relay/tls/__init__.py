"""Is TLS begun and judged as it should be?"""
