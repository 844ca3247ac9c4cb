"""Threshold Paillier over packed vectors of signed integers.

Public, and all that the gateway loads:

- `packing`, `encoding`: many small signed integers in one plaintext; numbers as bytes;
- `keys`: the public key, the description of a shared key, a share, the check of an outside ciphertext;
- `masks`, `encryption`: encrypt a vector, add vectors under encryption;
- `exponent`: modular powers of a whole vector on all cores;
- `challenge`, `plaintext_proof`, `share_proof`, `modulus_proof`, `opening`: proofs, and the checks of them;
- `threshold`: open a total from the parts of `threshold` parties. A part takes a share of the key.

Of the trusted dealer's enclave alone:

- `dealer`: make a modulus from safe primes, split its decryption exponent into shares.

Nothing here decrypts with a whole key.
"""
