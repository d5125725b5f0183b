"""How is TLS spoken, and with which certificates does it end here?"""
