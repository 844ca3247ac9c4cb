"""The wire contract of Yingbi: messages (`v1`), problems, digests, credentials and the zCDP conversion.

The one part of the SDK that servers import. It imports nothing else of Yingbi.
"""
