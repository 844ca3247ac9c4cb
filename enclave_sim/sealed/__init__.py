"""Sealed storage of one provider's shard: what `dataset add` writes once and every query reads.

- `schema`: the Arrow types of declared columns;
- `preparation`: rows without identifiers, sorted by a secret unit code;
- `encrypted_parquet`: one table, one encrypted file;
- `header`: keys, digests and the commitment, authenticated;
- `shard`: seal a shard, open a table of it;
- `errors`: why rows were not taken in, why a file is not trusted.
"""
