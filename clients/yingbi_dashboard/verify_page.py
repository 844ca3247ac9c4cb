"""The page on which anybody who is signed in has a receipt checked, wherever it comes from."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from yingbi_dashboard.forms import read_form
from yingbi_dashboard.receipt_checks import checked
from yingbi_dashboard.serving import Serving
from yingbi_dashboard.sign_in import who_is

MOST_BYTES = 24 << 20
"""A receipt is a few times as long as its ciphertexts; in a form up to three times that."""


class VerifyPage:
    """A receipt goes in, what holds of it comes out. Nothing is kept."""

    def __init__(self, console: Serving) -> None:
        self._console = console

    def routes(self) -> list[Route]:
        return [
            Route("/verify", self._page, methods=["GET"]),
            Route("/verify", self._verify, methods=["POST"]),
        ]

    async def _page(self, request: Request) -> Response:
        return self._console.page(request, "verify.html", me=await self._console.ask(request, who_is))

    async def _verify(self, request: Request) -> Response:
        # It takes the console some work: for those whom the gateway knows.
        await self._console.ask(request, lambda gateway: gateway.list_datasets())
        content = (await read_form(request, MOST_BYTES)).get("receipt", "").strip().encode()
        found = await run_in_threadpool(checked, content, self._console.profile.trust)
        return self._console.page(request, "receipt_checks.html", found=found)
