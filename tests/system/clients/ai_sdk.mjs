// The AI SDK's MCP client, as its documentation shows it: `node ai_sdk.mjs URL`. See driver.mjs.

import { UnauthorizedError, auth, createMCPClient } from "@ai-sdk/mcp";
import { FileProvider, converse } from "./driver.mjs";

const url = process.argv[2];
const provider = await FileProvider.listening();

// To sign in and to be asked for more are two visits to the browser, and a third would be one too many.
async function signedIn(action) {
  for (let visits = 0; ; visits++) {
    try {
      return await action();
    } catch (error) {
      if (!(error instanceof UnauthorizedError || error.cause instanceof UnauthorizedError) || visits === 2) throw error;
      const back = await provider.cameBack();
      await auth(provider, {
        serverUrl: url,
        authorizationCode: back.get("code"),
        callbackState: back.get("state") ?? undefined,
        callbackIssuer: back.get("iss") ?? undefined,
      });
    }
  }
}

async function connect() {
  const client = await createMCPClient({ transport: { type: "http", url, authProvider: provider } });
  return { listTools: () => client.listTools(), close: () => client.close(), tools: await client.tools() };
}

await converse(provider, () => signedIn(connect), (client, name, args) =>
  signedIn(() => client.tools[name].execute(args, { toolCallId: "1", messages: [] })));
