// Both TypeScript SDKs read the OpenID discovery document: `node typescript_discovery.mjs ISSUER`.
//
// They ask for it where RFC 8414's document is missing, which the `fetch` that they are given pretends.
// Prints a line of JSON for each: what it understood.

import * as client from "@modelcontextprotocol/client";
import * as sdk from "@modelcontextprotocol/sdk/client/auth.js";

const issuer = process.argv[2];

async function fetchFn(url, options) {
  if (new URL(url).pathname.includes("oauth-authorization-server")) return new Response("", { status: 404 });
  return fetch(url, options);
}

for (const { discoverAuthorizationServerMetadata } of [sdk, client]) {
  const understood = await discoverAuthorizationServerMetadata(issuer, { fetchFn });
  process.stdout.write(`${JSON.stringify(understood)}\n`);
}
