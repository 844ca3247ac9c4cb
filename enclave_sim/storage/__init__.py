"""A node's keys at rest, one below the other: root, zone key, dataset key, and file keys in the shards' headers.

- `state`: the root, sealed to the code that runs and bound to the platform's counters;
- `dataset_keys`: a random key for each dataset, wrapped under the zone key;
- `rotation`: another zone key and other dataset keys, with no file of rows written anew;
- `handover`: the root goes to other code, as the provider signed;
- `escrow`, `shamir`: the root in shares, any M of which restore it.
"""
