"""A function for awslambdaric, AWS's own client of the Runtime API for Python: does what its event asks for."""

import json
import logging
import os
import time

logging.getLogger().setLevel(logging.INFO)


def handle(event, context):
    return globals()[event["do"]](event, context)


def echo(event, _):
    return event["value"]


def fail(event, _):
    raise ValueError(event["message"])


def end(event, _):
    os._exit(event["status"])


def sleep(event, _):
    time.sleep(event["seconds"])


def log(event, context):
    print("printed")
    logging.info("logged")
    print(json.dumps({"requestId": context.aws_request_id, "message": "mine"}))
    print(json.dumps({"requestId": "00000000-0000-4000-8000-000000000000", "message": "another's"}))


def large(event, _):
    return "x" * event["characters"]


def describe(_, context):
    client = context.client_context
    return {
        "requestId": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "name": context.function_name,
        "version": context.function_version,
        "memory": context.memory_limit_in_mb,
        "remainingMs": context.get_remaining_time_in_millis(),
        "tenant": context.tenant_id,
        "custom": client and client.custom,
        "appTitle": client and client.client and client.client.app_title,
        "trace": os.environ.get("_X_AMZN_TRACE_ID"),
    }
