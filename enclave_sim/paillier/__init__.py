"""Threshold Paillier over packed vectors of signed integers.

Public half, which needs no secret and never loads the other half:

- `packing`: many small signed integers in one plaintext;
- `keys`: the public key, the description of a shared key, a share, the check of an outside ciphertext;
- `encryption`: encrypt a vector, add vectors under encryption;
- `exponent`: modular powers of a whole vector on all cores.

Half of those who hold secrets:

- `dealer`: make a modulus from safe primes, split its decryption exponent into shares;
- `threshold`: open a ciphertext with `threshold` of the shares.

Nothing here decrypts with a whole key.
"""
