"""The console: pages in which a responsible person sees what waits and decides. A client of the gateway's gRPC API.

It has no right of its own. Whoever signs in gives it their session's credential, which it keeps in their browser's
cookie and nowhere else; what they sign, they sign in their browser, with a key that never leaves it.
"""
