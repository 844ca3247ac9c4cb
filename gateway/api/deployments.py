"""DeploymentService."""

from __future__ import annotations

from dataclasses import replace

from yingbi.api.v1 import deployment_pb2 as messages
from yingbi.api.v1.deployment_pb2_grpc import DeploymentServiceServicer

from gateway.api.authentication import Authentication
from gateway.api.errors import Context, answers
from gateway.governance.callers import Role
from gateway.governance.policy import Action, check
from gateway.jobs.deployments import Deployments


class DeploymentService(DeploymentServiceServicer):
    """Models that are kept in the zone: deployed by developers, approved by operators, used by callers."""

    def __init__(self, deployments: Deployments, authentication: Authentication) -> None:
        self._deployments = deployments
        self._authentication = authentication

    @answers
    async def Deploy(self, request: messages.DeployRequest, context: Context) -> messages.Deployment:
        caller = self._authentication.caller(context)
        check(caller, Action.ASK)
        return await self._deployments.deploy(caller, request)

    @answers
    async def ListDeployments(
        self, request: messages.ListDeploymentsRequest, context: Context
    ) -> messages.ListDeploymentsResponse:
        caller = self._authentication.caller(context)
        found = await self._deployments.list_all(caller)
        return messages.ListDeploymentsResponse(deployments=found, organisation=caller.organisation)

    @answers
    async def GetDeployment(self, request: messages.GetDeploymentRequest, context: Context) -> messages.Deployment:
        return await self._deployments.show(self._authentication.caller(context), request.deployment)

    @answers
    async def ApproveDeployment(
        self, request: messages.ApproveDeploymentRequest, context: Context
    ) -> messages.Deployment:
        caller = self._authentication.caller(context)
        check(caller, Action.APPROVE_DEPLOYMENT)
        return await self._deployments.approve(caller, request.deployment, request.approval)

    @answers
    async def WithdrawDeployment(
        self, request: messages.WithdrawDeploymentRequest, context: Context
    ) -> messages.Deployment:
        caller = self._authentication.caller(context)
        if caller.role is Role.OPERATOR:
            # A stop never waits for papers: also of one that may not operate now.
            check(replace(caller, hindrance=""), Action.APPROVE_DEPLOYMENT)
        else:
            check(caller, Action.ASK)
        return await self._deployments.withdraw(caller, request.deployment, request.withdrawal)

    @answers
    async def Predict(self, request: messages.PredictRequest, context: Context) -> messages.PredictionReply:
        caller = self._authentication.caller(context)
        check(caller, Action.ASK)
        return await self._deployments.predict(caller, request)
