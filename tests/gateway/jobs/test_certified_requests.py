"""What a person signed is kept, for the enclaves, with the certificate that their key is known by."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select
from test_admission import Account, Scene  # type: ignore[import-not-found]
from yingbi.api import certificates
from yingbi.api.v1.job_pb2 import Job, SignedAuthorization

from gateway.storage.tables import jobs


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.database.close()


def kept(scene: Scene, job: Job) -> SignedAuthorization:
    wanted = select(jobs.c.authorization).where(jobs.c.job == job.job)
    stored: bytes = asyncio.run(scene.database.run(lambda connection: connection.execute(wanted).scalar_one()))
    return SignedAuthorization.FromString(stored)


def test_a_request_is_kept_with_its_persons_certificate(scene: Scene) -> None:
    college, ada, now = Ed25519PrivateKey.generate(), Account("ada", "college"), time.time()
    signed, secret = certificates.invite(college, organisation="college", person="ada", duties=["analyst"], now=now)
    certificate = certificates.accept(signed, secret, ada.caller.key)
    ada.caller = replace(ada.caller, certificate=certificate)
    found = kept(scene, scene.submit(ada, "n", 0.5)).certificate
    key = certificates.certified_key(found, college.public_key().public_bytes_raw(), duty="analyst", now=now)
    assert key == ada.caller.key


def test_that_of_an_organisations_own_key_has_none(scene: Scene) -> None:
    assert not kept(scene, scene.submit(Account("ada", "college"), "n", 0.5)).HasField("certificate")
