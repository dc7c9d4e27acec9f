// A function for aws-lambda-ric, AWS's own client of the Runtime API for Node.js: does what its event asks for.

const does = {
  echo: (event) => event.value,
  fail: (event) => {
    throw new RangeError(event.message);
  },
  end: (event) => process.exit(event.status),
  sleep: (event) => new Promise((wake) => setTimeout(wake, 1000 * event.seconds)),
  log: () => console.log("logged"),
  large: (event) => "x".repeat(event.characters),
  describe: (_, context) => ({
    requestId: context.awsRequestId,
    arn: context.invokedFunctionArn,
    name: context.functionName,
    version: context.functionVersion,
    memory: context.memoryLimitInMB,
    remainingMs: context.getRemainingTimeInMillis(),
    custom: context.clientContext?.custom,
    trace: process.env._X_AMZN_TRACE_ID,
  }),
};

export const handle = async (event, context) => does[event.do](event, context);
