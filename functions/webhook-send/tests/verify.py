"""Verifies webhooks with PyPI standardwebhooks: JSON of [{"secret","headers","body"}] on standard input."""

import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError

for sent in json.load(sys.stdin):
    Webhook(sent["secret"]).verify(sent["body"], sent["headers"])
    try:
        Webhook(sent["secret"]).verify(sent["body"] + " ", sent["headers"])
    except WebhookVerificationError:
        continue
    sys.exit("a changed body was taken")
