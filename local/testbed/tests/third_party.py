"""Pays through every kind of route, signing with PyPI http-message-signatures."""

import base64
import json
import os
import sys
import uuid

import requests
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

URL = os.environ["PAYFN_URL"]
KEYS = {
    key["keyId"]: base64.b64decode(key["secret"])
    for key in json.load(open(os.environ["KEYS_FILE"]))
}


class Keys(HTTPSignatureKeyResolver):
    def resolve_private_key(self, key_id):
        return KEYS[key_id]


def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = requests.Request(method, URL + path, data=data).prepare()
    covered = ["@method", "@path"]
    if "?" in path:
        covered.append("@query")
    if data is not None:
        request.headers["Content-Type"] = "application/json"
    if method != "GET":
        request.headers["Idempotency-Key"] = f'"{uuid.uuid4()}"'
        covered.append("idempotency-key")
    signer = HTTPMessageSigner(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=Keys())
    signer.sign(request, key_id="demo", covered_component_ids=covered, body=data)
    answer = requests.Session().send(request)
    if answer.status_code != 200:
        sys.exit(f"{method} {path}: {answer.status_code} {answer.text}")
    return answer.json()


order = sys.argv[1]
payment = call("POST", "/payments/authorize", {"orderId": order, "amount": 15000, "currency": "KRW"})
answers = [
    payment,
    call("POST", f"/payments/capture/{payment['paymentId']}"),
    call("POST", f"/payments/refund/{payment['paymentId']}", {"amount": 5000, "reason": "반품"}),
    call("GET", f"/payments?orderId={order}&limit=1"),
    call("GET", f"/payments/{payment['paymentId']}/timeline"),
]
json.dump(answers, sys.stdout)
