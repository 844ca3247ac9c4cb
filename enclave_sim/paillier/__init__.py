"""Threshold Paillier over packed vectors of signed integers.

Public half, which needs no secret and never loads the other half:

- `packing`: many small signed integers in one plaintext;
- `keys`: the public key, the description of a shared key, a share, the check of an outside ciphertext;
- `masks`: the random half of ciphertexts, and why it hides the other half; masks made ahead;
- `encryption`: encrypt a vector, add vectors under encryption;
- `plaintext_proof`: prove to know what is inside one's own ciphertexts, for one job;
- `opening`: check what was opened against the ciphertexts, with nothing secret;
- `modulus_proof`: prove that a modulus fits;
- `challenge`: hashes that proofs are bound by;
- `exponent`: modular powers of a whole vector on all cores.

Half of those who hold secrets:

- `dealer`: make a modulus from safe primes, split the exponent that opens into shares;
- `share_proof`: prove that partial decryptions are right, or name who sent wrong ones;
- `threshold`: open a ciphertext with `threshold` of the shares; the argument what that reveals;
- `unproven`: the opening without proofs that jobs still use.

Nothing here decrypts with a whole key.
"""
