"""How does TLS end here, and with which certificates?"""
