// Two OAuth libraries use every grant: `node grants.mjs LIBRARY ISSUER RESOURCE SCOPE MACHINE_ID MACHINE_SECRET`, where
// LIBRARY is `openid-client` or `oauth4webapi`.
//
// Prints a line of JSON for each step: its name, and what the library understood. For the device flow it first prints
// `user_code`, and waits until a person has entered the code. BROWSER visits the authorization page.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import * as oauth from "oauth4webapi";
import * as openid from "openid-client";

const [, , library, issuer, resource, scope, machineId, machineSecret] = process.argv;
const server = createServer();
server.listen(0, "127.0.0.1");
await once(server, "listening");
const redirect_uri = `http://127.0.0.1:${server.address().port}/callback`;
const metadata = {
  client_name: `Example app: ${library}`,
  redirect_uris: [redirect_uri],
  token_endpoint_auth_method: "none",
  grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
};

const say = (step, value) => process.stdout.write(`${JSON.stringify({ step, value })}\n`);

// The URL that the person comes back to.
async function visit(url) {
  spawn(process.env.BROWSER, [url.href], { stdio: "ignore" });
  const [request, response] = await once(server, "request");
  response.end("Connected.");
  return new URL(request.url, redirect_uri);
}

async function withOpenidClient() {
  const loopback = { execute: [openid.allowInsecureRequests], algorithm: "oauth2" };
  const config = await openid.dynamicClientRegistration(new URL(issuer), metadata, openid.None(), loopback);
  say("register", config.clientMetadata().client_id);

  async function signIn(options) {
    const verifier = openid.randomPKCECodeVerifier();
    const state = openid.randomState();
    const code_challenge = await openid.calculatePKCECodeChallenge(verifier);
    const asked = { redirect_uri, scope, resource, state, code_challenge, code_challenge_method: "S256" };
    const back = await visit(openid.buildAuthorizationUrl(config, asked));
    const checks = { pkceCodeVerifier: verifier, expectedState: state };
    return openid.authorizationCodeGrant(config, back, checks, { resource }, options);
  }

  const tokens = await signIn();
  say("authorization_code", tokens);
  const refreshed = await openid.refreshTokenGrant(config, tokens.refresh_token, { resource });
  say("refresh_token", refreshed);
  const device = await openid.initiateDeviceAuthorization(config, { scope, resource });
  say("user_code", device.user_code);
  say("device_code", await openid.pollDeviceAuthorizationGrant(config, device));
  const DPoP = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair("ES256"));
  say("dpop", await signIn({ DPoP }));
  const machine = await openid.discovery(
    new URL(issuer), machineId, undefined, openid.ClientSecretBasic(machineSecret), loopback);
  const own = await openid.clientCredentialsGrant(machine, { scope, resource });
  say("client_credentials", own);
  say("introspect", await openid.tokenIntrospection(machine, own.access_token));
  await openid.tokenRevocation(machine, own.access_token);
  say("revoke", await openid.tokenIntrospection(machine, own.access_token));
}

async function withOauth4webapi() {
  const loopback = { [oauth.allowInsecureRequests]: true };
  const url = new URL(issuer);
  const as = await oauth.processDiscoveryResponse(
    url, await oauth.discoveryRequest(url, { algorithm: "oauth2", ...loopback }));
  const client = await oauth.processDynamicClientRegistrationResponse(
    await oauth.dynamicClientRegistrationRequest(as, metadata, loopback));
  say("register", client.client_id);
  const none = oauth.None();
  const options = { ...loopback, additionalParameters: { resource } };

  async function signIn(more) {
    const verifier = oauth.generateRandomCodeVerifier();
    const state = oauth.generateRandomState();
    const code_challenge = await oauth.calculatePKCECodeChallenge(verifier);
    const page = new URL(as.authorization_endpoint);
    const asked = { client_id: client.client_id, response_type: "code", redirect_uri, scope, resource, state };
    page.search = new URLSearchParams({ ...asked, code_challenge, code_challenge_method: "S256" }).toString();
    const parameters = oauth.validateAuthResponse(as, client, await visit(page), state);
    return oauth.processAuthorizationCodeResponse(as, client, await oauth.authorizationCodeGrantRequest(
      as, client, none, parameters, redirect_uri, verifier, { ...options, ...more }));
  }

  const tokens = await signIn();
  say("authorization_code", tokens);
  say("refresh_token", await oauth.processRefreshTokenResponse(
    as, client, await oauth.refreshTokenGrantRequest(as, client, none, tokens.refresh_token, options)));
  const device = await oauth.processDeviceAuthorizationResponse(
    as, client, await oauth.deviceAuthorizationRequest(as, client, none, { scope, resource }, loopback));
  say("user_code", device.user_code);
  say("device_code", await polled(as, client, none, device, options));
  const DPoP = oauth.DPoP(client, await oauth.generateKeyPair("ES256"));
  say("dpop", await signIn({ DPoP }));
  const machine = { client_id: machineId };
  const basic = oauth.ClientSecretBasic(machineSecret);
  const own = await oauth.processClientCredentialsResponse(
    as, machine, await oauth.clientCredentialsGrantRequest(as, machine, basic, { scope, resource }, loopback));
  say("client_credentials", own);
  const introspected = async () => oauth.processIntrospectionResponse(
    as, machine, await oauth.introspectionRequest(as, machine, basic, own.access_token, loopback));
  say("introspect", await introspected());
  await oauth.processRevocationResponse(
    await oauth.revocationRequest(as, machine, basic, own.access_token, loopback));
  say("revoke", await introspected());
}

// This library leaves the waiting to the application.
async function polled(as, client, none, device, options) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 1000 * (device.interval ?? 5)));
    try {
      return await oauth.processDeviceCodeResponse(
        as, client, await oauth.deviceCodeGrantRequest(as, client, none, device.device_code, options));
    } catch (error) {
      if (error.error !== "authorization_pending") throw error;
    }
  }
}

try {
  await { "openid-client": withOpenidClient, oauth4webapi: withOauth4webapi }[library]();
} finally {
  server.close();
  server.closeAllConnections();
}
