// LangChain's MCP adapters, as their documentation shows them: `node langchain.mjs URL`. See driver.mjs.

import { MultiServerMCPClient } from "@langchain/mcp-adapters";
import { auth } from "@modelcontextprotocol/sdk/client/auth.js";
import { FileProvider, converse } from "./driver.mjs";

const url = process.argv[2];
const provider = await FileProvider.listening();

// To sign in and to be asked for more are two visits to the browser, and a third would be one too many.
async function signedIn(action) {
  for (let visits = 0; ; visits++) {
    try {
      return await action();
    } catch (error) {
      if (!/unauthorized/i.test(`${error} ${error.cause ?? ""}`) || visits === 2) throw error;
      await auth(provider, { serverUrl: url, authorizationCode: (await provider.cameBack()).get("code") });
    }
  }
}

async function connect() {
  const servers = { it: { transport: "http", url, authProvider: provider } };
  const adapters = new MultiServerMCPClient({ mcpServers: servers, useStandardContentBlocks: true });
  const tools = Object.fromEntries((await adapters.getTools()).map((tool) => [tool.name, tool]));
  return { listTools: async () => ({ tools: Object.values(tools) }), close: () => adapters.close(), tools };
}

await converse(provider, () => signedIn(connect), async (client, name, args) => {
  const call = { type: "tool_call", id: "1", name, args };
  const message = await signedIn(() => client.tools[name].invoke(call));
  return { structuredContent: JSON.parse(message.text).structuredContent, content: [] };
});
