# mypy: ignore-errors
"""Yingbi's encryption, for the table. The primes are published here and protect nothing: making some takes minutes."""

from types import SimpleNamespace

from benchmarks.paillier.scripts.harness import run
from enclave_sim.paillier.dealer import deal
from enclave_sim.paillier.encryption import add, encrypt
from enclave_sim.paillier.share_proof import parts_of
from enclave_sim.paillier.threshold import combine, partial_decrypt

THRESHOLD = 3
P = int(
    "C205074FD1CA40B624378E9AA671F2D65EE64967010895358225533E044FD49645D6FD03181A30D16A8EEE4BD99DBD1D"
    "1D340ACDC9257151B7CAA2E69CD59DAC55F09CBE5BD34F5D960571279DB7706320EB876C219D1E96E8A0249ACB1E652D"
    "B11067EBB27A7982C056570BE76DAF004B355472C56953717DC3247CA94E651A70DDF604F5A7AF02C487C0294882DB40"
    "D9CB3636DA6549350E57E018D21AFA7D39D85C4FFAED3F37F89079B219CD3ED53771B162E93409D145C8C46ECA2CE1C7",
    16,
)
Q = int(
    "C5C9353EADEB43AF94B7BEDDBED5A3C372D7C345D4170D52A4FCD6B3C2460F8E175EE75D9A7F4F3FFDB7FB83E81D4C2C"
    "734517FEF366EA01084CF189FD3E0B9E3D01619A5AB40428290B77329132287FC6FCF955EED4DAA99DB8CEA037B70F1E"
    "301378B589075AAC9B2E735484D06B1D21E6F1175E3F0B9DCF92465969743940E8E370ED80372F22331CCCBE4F6934D5"
    "6E3E5A5624E20FC5AA34EA67BC4D9BABB443D28F9C95625FD896607F8C90CA5270C558650D9CB641FF0B3DC84E598EFF",
    16,
)


def prepare(task):  # noqa: ANN001, ANN201
    if (P * Q).bit_length() != task.bits:
        raise SystemExit(f"the primes are for {(P * Q).bit_length()} bits")
    return deal(P, Q, parties=task.parties, threshold=THRESHOLD, epoch=0)


def codec(dealt, task):  # noqa: ANN001, ANN201
    key, shares = dealt

    def part(total, share=shares[0]):  # noqa: ANN001, ANN202
        return partial_decrypt(key, share, total)

    def finish(total, own, others):  # noqa: ANN001, ANN202
        given = {shares[0].index: own, **others}
        # What comes out is checked by `combine` itself, whoever gave the parts.
        residues = combine(key, [parts_of(key, index, total, part) for index, part in given.items()]).residues
        return [residue if 2 * residue < key.n else residue - key.n for residue in residues]

    return SimpleNamespace(
        encrypt=lambda numbers: encrypt(key.public, numbers).ciphertexts,
        add=lambda vectors: add(key.public, vectors),
        wire=lambda vector: len(vector) * 2 * task.bits // 8,
        part=part,
        others=lambda total: {share.index: part(total, share) for share in shares[1:THRESHOLD]},
        open=finish,
    )


if __name__ == "__main__":
    run(["yingbi"], prepare, codec)
