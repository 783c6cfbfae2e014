// The Model Context Protocol SDK: its client finds Mandate by itself, registers, and gets tokens for the server it talks to.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import * as jose from 'jose';
import { Browser } from './browser.mjs';
import { directory, people } from './directory.mjs';
import { freePort, listen, start } from './server.mjs';

const port = await freePort();
const notes = `http://127.0.0.1:${port}/mcp`;
const redirectUrl = 'http://127.0.0.1:49200/callback';
const server = await start({
  directory: directory({ apis: [{ id: 'notes', audience: notes, scopes: ['notes:read'] }], custom: { open_registration: true } }),
});

// The MCP server is a resource server of Mandate (RFC 9728). It tells who calls by a tool.
const keys = jose.createRemoteJWKSet(new URL(`${server.issuer}/.well-known/jwks.json`));
const refused = new Set(); // ids of tokens that it takes no more
const seen = []; // claims
await listen(async (request, response) => {
  const answer = (status, headers, document) =>
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(document));
  if (request.url === '/.well-known/oauth-protected-resource/mcp') {
    return answer(
      200,
      {},
      { resource: notes, authorization_servers: [server.issuer], scopes_supported: ['notes:read'], bearer_methods_supported: ['header'] },
    );
  }
  try {
    const token = request.headers.authorization?.replace(/^Bearer /, '') ?? '';
    const { payload } = await jose.jwtVerify(token, keys, { issuer: server.issuer, audience: notes, typ: 'at+jwt' });
    assert.ok(!refused.has(payload.jti));
    seen.push(payload);
    const mcp = new McpServer({ name: 'notes', version: '1.0.0' });
    mcp.registerTool('whoami', { description: 'Who calls' }, () => ({
      content: [{ type: 'text', text: `${payload.sub} of ${payload.org}` }],
    }));
    const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
    await mcp.connect(transport);
    return await transport.handleRequest(request, response);
  } catch {
    return answer(
      401,
      {
        'www-authenticate': `Bearer resource_metadata="http://127.0.0.1:${port}/.well-known/oauth-protected-resource/mcp", scope="notes:read"`,
      },
      {},
    );
  }
}, port);

// memory is a client that keeps what the SDK gives it, and notes where the person is to be sent.
function memory() {
  const kept = {};
  return {
    kept,
    redirectUrl,
    clientMetadata: {
      client_name: 'Assistant',
      redirect_uris: [redirectUrl],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    },
    state: () => 'of-the-assistant',
    clientInformation: () => kept.client,
    saveClientInformation: (client) => {
      kept.client = client;
    },
    tokens: () => kept.tokens,
    saveTokens: (tokens) => {
      kept.tokens = tokens;
    },
    redirectToAuthorization: (url) => {
      kept.url = url;
    },
    saveCodeVerifier: (verifier) => {
      kept.verifier = verifier;
    },
    codeVerifier: () => kept.verifier,
  };
}

// whoami connects, and calls the tool.
async function whoami(authProvider) {
  const client = new Client({ name: 'assistant', version: '1.0.0' });
  await client.connect(new StreamableHTTPClientTransport(new URL(notes), { authProvider }));
  const { content } = await client.callTool({ name: 'whoami' });
  await client.close();
  return content[0].text;
}

// agree lets the assistant in as the person, and returns the answer that the assistant gets.
async function agree(authProvider, browser) {
  const transport = new StreamableHTTPClientTransport(new URL(notes), { authProvider });
  await assert.rejects(new Client({ name: 'assistant', version: '1.0.0' }).connect(transport), UnauthorizedError);
  const back = await browser.open(authProvider.kept.url, redirectUrl);
  assert.ok(back instanceof URL, back.html);
  assert.equal(back.searchParams.get('state'), 'of-the-assistant');
  if (back.searchParams.has('code')) await transport.finishAuth(back.searchParams.get('code'));
  return back;
}

test('the client discovers, registers, asks the user, and calls the server; its token is refreshed', async () => {
  const assistant = memory();
  const browser = new Browser(people.alice);
  await agree(assistant, browser);
  assert.ok(
    browser.titles.some((title) => title.includes('Assistant asks for access')),
    `consent is asked for: ${browser.titles}`,
  );
  assert.equal(await whoami(assistant), 'alice of acme');
  const claims = seen.at(-1);
  assert.deepEqual([[claims.aud].flat(), claims.scope, claims.client_id], [[notes], 'notes:read', assistant.kept.client.client_id]);

  const { refresh_token } = assistant.kept.tokens;
  refused.add(claims.jti);
  assert.equal(await whoami(assistant), 'alice of acme');
  assert.notEqual(seen.at(-1).jti, claims.jti);
  assert.notEqual(assistant.kept.tokens.refresh_token, refresh_token);
});

test('a client with a secret of its own; a user who says no', async () => {
  const assistant = memory();
  assistant.clientMetadata.token_endpoint_auth_method = 'client_secret_basic';
  const back = await agree(assistant, new Browser({ ...people.alice, decision: 'deny' }));
  assert.equal(back.searchParams.get('error'), 'access_denied');
  await agree(assistant, new Browser({ ...people.bob, org: 'globex' }));
  assert.equal(await whoami(assistant), 'bob of globex');
});

test('RFC 7591: what cannot be registered', async () => {
  for (const [name, metadata, status, error] of [
    ['§2: a redirect URI without TLS', { redirect_uris: ['http://app.example/callback'] }, 400, 'invalid_redirect_uri'],
    ['§2: a redirect URI with a fragment', { redirect_uris: ['https://app.example/callback#x'] }, 400, 'invalid_redirect_uri'],
    ['§2: scripts as redirect URIs', { redirect_uris: ['javascript:alert(1)'] }, 400, 'invalid_redirect_uri'],
    ['§3.2.2: a grant for itself', { redirect_uris: [redirectUrl], grant_types: ['client_credentials'] }, 400, 'invalid_client_metadata'],
    ['§3.2.2: implicit', { redirect_uris: [redirectUrl], response_types: ['token'] }, 400, 'invalid_client_metadata'],
    ['§3.2.2: a wrong type', { redirect_uris: redirectUrl }, 400, 'invalid_client_metadata'],
  ]) {
    const response = await fetch(`${server.issuer}/oauth2/register`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(metadata),
    });
    assert.deepEqual([response.status, (await response.json()).error], [status, error], name);
  }
  const closed = await fetch(`${server.staging}/oauth2/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ redirect_uris: [redirectUrl] }),
  });
  assert.equal(closed.status, 401, 'a tenant that is not open');
  const scopes = await fetch(`${server.issuer}/oauth2/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ redirect_uris: [redirectUrl], scope: 'notes:read manage decide' }),
  }).then((r) => r.json());
  assert.equal(scopes.scope, 'notes:read', 'nothing of Mandate itself');
});
