"""Calls the Invoke API with boto3, the AWS SDK for Python; ric_function.py answers."""

import base64
import json
import os
import unittest
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ARN = "arn:aws:lambda:ap-northeast-2:000000000000:function:"
client = boto3.client(
    "lambda",
    endpoint_url=os.environ["INVOKE_URL"],
    region_name="ap-northeast-2",
    aws_access_key_id="any",
    aws_secret_access_key="any",
    config=Config(retries={"total_max_attempts": 1}),
)


def invoke(event, function="ric", **options):
    return client.invoke(FunctionName=function, Payload=json.dumps(event), **options)


def answer(response):
    return json.loads(response["Payload"].read())


class Invocations(unittest.TestCase):
    def test_answer_of_the_function_is_the_payload(self):
        value = {"한글": ["a", 1.5, None]}
        response = invoke({"do": "echo", "value": value})
        self.assertEqual(response["StatusCode"], 200)
        self.assertEqual(response["ExecutedVersion"], "$LATEST")
        self.assertNotIn("FunctionError", response)
        self.assertEqual(answer(response), value)

    def test_no_value_is_null(self):
        self.assertEqual(invoke({"do": "sleep", "seconds": 0})["Payload"].read(), b"null")

    def test_function_is_found_by_name_and_arn_with_and_without_qualifier(self):
        for name in ["ric", ARN + "ric", "123456789012:function:ric"]:
            for suffix, options in [("", {}), (":$LATEST", {}), ("", {"Qualifier": "$LATEST"})]:
                response = invoke({"do": "echo", "value": 1}, name + suffix, **options)
                self.assertEqual(answer(response), 1, name + suffix)

    def test_answer_can_be_read_as_a_stream(self):
        response = client.invoke_with_response_stream(
            FunctionName="ric", Payload=json.dumps({"do": "echo", "value": [1, 2]}), LogType="Tail"
        )
        self.assertEqual(response["StatusCode"], 200)
        events = list(response["EventStream"])
        payload = b"".join(it["PayloadChunk"]["Payload"] for it in events[:-1])
        self.assertEqual(json.loads(payload), [1, 2])
        complete = events[-1]["InvokeComplete"]
        self.assertNotIn("ErrorCode", complete)
        self.assertIn(b"END RequestId: ", base64.b64decode(complete["LogResult"]))

    def test_context_is_what_the_runtime_says(self):
        response = invoke({"do": "describe"}, TenantId="blue")
        context = answer(response)
        self.assertEqual(context["requestId"], response["ResponseMetadata"]["RequestId"])
        self.assertEqual(context["arn"], ARN + "ric")
        self.assertEqual(context["name"], "ric")
        self.assertEqual(context["version"], "$LATEST")
        self.assertEqual(context["memory"], "256")
        self.assertEqual(context["tenant"], "blue")
        self.assertTrue(0 < context["remainingMs"] <= 2000, context["remainingMs"])
        self.assertRegex(context["trace"], "^Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=")
        self.assertIsNone(context["custom"])

    def test_client_context_reaches_the_function(self):
        context = {"client": {"app_title": "shop"}, "custom": {"이름": "값"}}
        encoded = base64.b64encode(json.dumps(context, ensure_ascii=False).encode()).decode()
        described = answer(invoke({"do": "describe"}, ClientContext=encoded))
        self.assertEqual(described["custom"], {"이름": "값"})
        self.assertEqual(described["appTitle"], "shop")

    def test_tail_is_the_log_of_the_invocation(self):
        response = invoke({"do": "log"}, LogType="Tail")
        request = response["ResponseMetadata"]["RequestId"]
        log = base64.b64decode(response["LogResult"]).decode()
        lines = log.splitlines()
        self.assertEqual(lines[0], f"START RequestId: {request} Version: $LATEST")
        self.assertIn("printed", lines)
        self.assertTrue(any(f"\t{request}\tlogged" in line for line in lines), log)
        self.assertIn('"mine"', log)
        self.assertNotIn("another's", log)
        self.assertEqual(lines[-2], f"END RequestId: {request}")
        report = rf"^REPORT RequestId: {request}\tDuration: [0-9.]+ ms\tBilled Duration: [0-9]+ ms\t"
        self.assertRegex(lines[-1], report)
        self.assertNotIn("LogResult", invoke({"do": "log"}))

    def test_dry_run_calls_nothing(self):
        response = invoke({"do": "end", "status": 1}, InvocationType="DryRun")
        self.assertEqual(response["StatusCode"], 204)
        self.assertEqual(response["Payload"].read(), b"")

    def test_event_is_accepted(self):
        response = invoke({"do": "echo", "value": 1}, InvocationType="Event")
        self.assertEqual(response["StatusCode"], 202)
        self.assertEqual(response["Payload"].read(), b"")


class FunctionErrors(unittest.TestCase):
    def error(self, event):
        response = invoke(event)
        self.assertEqual(response["StatusCode"], 200)
        self.assertEqual(response["FunctionError"], "Unhandled")
        return answer(response), response["ResponseMetadata"]["RequestId"]

    def test_exception_comes_with_its_stack_trace(self):
        error, request = self.error({"do": "fail", "message": "나쁨"})
        self.assertEqual(error["errorType"], "ValueError")
        self.assertEqual(error["errorMessage"], "나쁨")
        self.assertEqual(error["requestId"], request)
        self.assertTrue(any("ric_function.py" in line for line in error["stackTrace"]))

    def test_timeout(self):
        error, request = self.error({"do": "sleep", "seconds": 60})
        message = f"RequestId: {request} Error: Task timed out after 2.00 seconds"
        self.assertEqual(error, {"errorType": "Sandbox.Timedout", "errorMessage": message})

    def test_end_of_the_process(self):
        error, request = self.error({"do": "end", "status": 3})
        message = f"RequestId: {request} Error: Runtime exited with error: exit status 3"
        self.assertEqual(error, {"errorType": "Runtime.ExitError", "errorMessage": message})

    def test_answer_above_the_limit(self):
        error, _ = self.error({"do": "large", "characters": 6291555})
        self.assertEqual(error["errorType"], "Function.ResponseSizeTooLarge")


class Exceptions(unittest.TestCase):
    def refused(self, expected, status, function="ric", payload=b"{}", **options):
        with self.assertRaises(getattr(client.exceptions, expected)) as raised:
            client.invoke(FunctionName=function, Payload=payload, **options)
        response = raised.exception.response
        self.assertEqual(response["ResponseMetadata"]["HTTPStatusCode"], status)
        self.assertEqual(response["Error"]["Code"], expected)
        self.assertTrue(response["Error"]["Message"])
        return response

    def test_unknown_function(self):
        response = self.refused("ResourceNotFoundException", 404, "nobody")
        self.assertEqual(response["Error"]["Message"], f"Function not found: {ARN}nobody")

    def test_unknown_version(self):
        self.refused("ResourceNotFoundException", 404, "ric", Qualifier="7")

    def test_payload_that_is_no_json(self):
        self.refused("InvalidRequestContentException", 400, payload=b"{oops")

    def test_client_context_that_is_none(self):
        self.refused("InvalidRequestContentException", 400, ClientContext="oops")

    def test_qualifiers_that_disagree(self):
        self.refused("InvalidParameterValueException", 400, "ric:$LATEST", Qualifier="live")

    def test_payload_above_the_limit(self):
        self.refused("RequestTooLargeException", 413, payload=b" " * 6291557)
        event = {"payload": b" " * 1048577, "InvocationType": "Event"}
        self.refused("RequestTooLargeException", 413, **event)

    def test_throttle(self):
        event = {"do": "sleep", "seconds": 1.5}
        with ThreadPoolExecutor() as callers:
            calls = [callers.submit(invoke, event, "reserved") for _ in range(2)]
        refused = [call.exception() for call in calls if call.exception()]
        self.assertEqual(len(refused), 1)
        self.assertIsInstance(refused[0], client.exceptions.TooManyRequestsException)
        error = refused[0].response
        self.assertEqual(error["Reason"], "ReservedFunctionConcurrentInvocationLimitExceeded")
        self.assertEqual(error["retryAfterSeconds"], "1")

    def test_type_that_is_none(self):
        with self.assertRaises(ClientError) as raised:
            invoke({}, InvocationType="Later")
        self.assertEqual(raised.exception.response["Error"]["Code"], "InvalidParameterValueException")


if __name__ == "__main__":
    unittest.main()
