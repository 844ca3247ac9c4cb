"""The trusted computing base: what runs inside a provider's enclave, and the node that hosts it.

The TEE is simulated: whoever holds a node's root user can look inside that node.
"""
