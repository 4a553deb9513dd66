"""The tables, one module for each thing. Importing this package makes all of them known to Alembic."""

from app.models.account import Account, AccountGrant, ApiToken
from app.models.account_session import AccountSession
from app.models.action import ActionBatch, NodeAction
from app.models.alert import Alert, AlertRule
from app.models.audit import AuditEntry, AuditHead
from app.models.deploy_request import DeployRequest
from app.models.deployment import Deployment, DeploymentNode
from app.models.environment import Environment
from app.models.history import ChannelSpan, MetricsBlock
from app.models.idempotency import IdempotencyKey
from app.models.identity import AccountIdentity, RecoveryCode
from app.models.node import Node, NodePipeline
from app.models.pipeline import Pipeline, PipelineVersion
from app.models.sample import SampleFailure, SampleRequest, SampleRequestNode, SampleResult
from app.models.secret import Certificate, LastAssembled, Secret
from app.models.setting import Setting
from app.models.webhook import Lease, Notice, Webhook, WebhookDelivery

__all__ = [
    "Account",
    "AccountGrant",
    "AccountIdentity",
    "AccountSession",
    "ActionBatch",
    "Alert",
    "AlertRule",
    "ApiToken",
    "AuditEntry",
    "AuditHead",
    "Certificate",
    "ChannelSpan",
    "DeployRequest",
    "Deployment",
    "DeploymentNode",
    "Environment",
    "IdempotencyKey",
    "LastAssembled",
    "Lease",
    "MetricsBlock",
    "Node",
    "NodeAction",
    "NodePipeline",
    "Notice",
    "Pipeline",
    "PipelineVersion",
    "RecoveryCode",
    "SampleFailure",
    "SampleRequest",
    "SampleRequestNode",
    "SampleResult",
    "Secret",
    "Setting",
    "Webhook",
    "WebhookDelivery",
]
