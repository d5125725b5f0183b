"""How do two who began in plaintext come to speak TLS, in the way of their protocol?"""
