// Secrets in the wrong places and in requests that fail must not be logged either: the harness looks for all that were sent.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';
import { directory } from './directory.mjs';
import { remember, start } from './server.mjs';

const canary = 'canary-7d1f9b3c5e';
remember(canary);
const server = await start({
  directory: directory({ clients: [{ id: 'service', secret: canary, grant_types: ['client_credentials'], scopes: ['decide'] }] }),
});

const paths = [
  '/oauth2/token',
  '/oauth/token',
  '/oauth2/par',
  '/oauth2/device_authorization',
  '/oauth2/revoke',
  '/oauth2/introspect',
  '/oauth2/register',
  '/auth',
  '/auth/refresh',
  '/userinfo',
  '/authorize',
  '/login',
  '/login/callback',
  '/consent',
  '/device',
  '/device/consent',
  '/account/revoke',
  '/logout',
  '/access/v1/evaluation',
  '/access/v1/evaluations',
  '/v1/data',
  '/v1/explain',
  '/v1/keys/rotate',
  '/nowhere',
];
const parameters = [
  'client_secret',
  'client_assertion',
  'code',
  'refresh_token',
  'password',
  'token',
  'device_code',
  'user_code',
  'assertion',
  'subject_token',
  'continue',
  'state',
  'nonce',
  'grant_type',
  'scope',
];

for (const path of paths) {
  test(`secrets sent to ${path}`, async () => {
    const everything = new URLSearchParams(parameters.map((name) => [name, canary]));
    const asJSON = JSON.stringify(Object.fromEntries(everything));
    for (const init of [
      { method: 'GET', query: everything },
      { method: 'POST', body: everything },
      { method: 'POST', query: everything, body: everything },
      { method: 'POST', body: asJSON, headers: { 'content-type': 'application/json' } },
      { method: 'POST', body: `{"${canary}":`, headers: { 'content-type': 'application/json' } },
      { method: 'POST', body: canary, headers: { 'content-type': canary } },
      { method: 'DELETE', query: everything },
      ...['Bearer', 'Basic', 'DPoP', canary].map((scheme) => ({
        method: 'POST',
        body: new URLSearchParams({ grant_type: 'client_credentials' }),
        headers: { authorization: `${scheme} ${canary}`, dpop: canary },
      })),
      {
        method: 'POST',
        headers: {
          cookie: `mandate-session-default=${canary}; mandate-browser-default=${canary}; mandate-provider-default=${canary}`,
          'x-api-key': canary,
          'x-api-secret': canary,
          'x-request-id': 'r',
        },
      },
      { method: 'GET', suffix: `/${canary}` },
    ]) {
      const response = await fetch(`${server.issuer}${path}${init.suffix ?? ''}?${init.query ?? ''}`, { redirect: 'manual', ...init });
      assert.ok(response.status < 500, `${init.method} ${path}: ${response.status}`);
    }
  });
}

test('secrets in requests that are no HTTP', async () => {
  for (const text of [
    `${canary}\r\n\r\n`,
    `GET /${canary} HTTP/9.9\r\n\r\n`,
    `POST /oauth2/token HTTP/1.1\r\nHost: x\r\n${canary}\r\n\r\n`,
    `POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Length: ${canary}\r\n\r\n`,
    `POST /oauth2/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: ${canary}\r\n\r\n`,
    `GET /?${canary.repeat(4000)} HTTP/1.1\r\nHost: x\r\n\r\n`,
  ]) {
    await new Promise((done) => {
      const socket = connect(Number(new URL(server.issuer).port), '127.0.0.1', () => socket.end(text));
      socket.on('error', done).on('close', done).resume();
    });
  }
});

test('requests are logged', () => server.logged(/msg=request.*route=\/oauth2\/token/));
