// The TypeScript client 2.x, as its documentation shows it: `node typescript_client.mjs URL`. See driver.mjs.

import { Client, StreamableHTTPClientTransport, UnauthorizedError } from "@modelcontextprotocol/client";
import { FileProvider, converse } from "./driver.mjs";

const url = new URL(process.argv[2]);
const provider = await FileProvider.listening();
let transport;

// To sign in and to be asked for more are two visits to the browser, and a third would be one too many.
async function signedIn(action) {
  for (let visits = 0; ; visits++) {
    try {
      return await action();
    } catch (error) {
      if (!(error instanceof UnauthorizedError) || visits === 2) throw error;
      await transport.finishAuth(await provider.cameBack());
    }
  }
}

async function connect() {
  const client = new Client({ name: "example-app", version: "1.0.0" }, { versionNegotiation: { mode: "auto" } });
  transport = new StreamableHTTPClientTransport(url, { authProvider: provider });
  await client.connect(transport);
  return client;
}

await converse(provider, () => signedIn(connect), (client, name, args) =>
  signedIn(() => client.callTool({ name, arguments: args })));
