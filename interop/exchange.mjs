// What products have today, wire for wire: API keys and passwords for tokens, /oauth/token in JSON, and partners who act for users.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as jose from 'jose';
import * as oauth from 'oauth4webapi';
import { Browser, forms } from './browser.mjs';
import { callback, directory, documents, people } from './directory.mjs';
import { start } from './server.mjs';
import { basic, basicUser, bearer, json, wire } from './wire.mjs';

const key = 'key-of-alice-for-acme-8f1c7a';
const secret = 'secret-of-loyalty-3d90be';
const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';
const [vendorToken, partnerToken, integrationKey] = [
  'token-of-vendor-backupco-62d1',
  'token-of-backupco-at-acme-f93e',
  'key-of-syncly-for-bob-at-globex-1b7c',
];
const server = await start({
  directory: directory({
    api_keys: [
      { id: 'acme-key', org: 'acme', owner: 'alice', scopes: ['documents:read'], key },
      { id: 'lost-key', org: 'acme', owner: 'bob', scopes: ['documents:read'], key: 'key-of-bob-no-developer-77' },
    ],
    vendors: [
      { id: 'backupco', token: vendorToken },
      { id: 'syncly', token: 'token-of-vendor-syncly-0a11' },
    ],
    integrations: [
      { id: 'backupco-acme', vendor: 'backupco', org: 'acme', scopes: ['documents:read'], partner_token: partnerToken },
      {
        id: 'syncly-globex',
        vendor: 'syncly',
        org: 'globex',
        kind: 'delegated',
        client: 'syncly-app',
        enabled_by: 'bob',
        scopes: ['documents:read'],
        partner_token: integrationKey,
      },
    ],
    clients: [
      ...['backupco', 'syncly'].map((vendor) => ({
        id: `${vendor}-app`,
        vendor,
        party: 'third',
        secret,
        grant_types: [exchangeGrant],
        scopes: ['documents:read', 'documents:write'],
        audiences: [documents],
      })),
      { id: 'loyalty', secret, org: 'acme', grant_types: ['client_credentials'], scopes: ['documents:read'], audiences: [documents] },
      {
        id: 'partner',
        name: 'Partner Sync',
        party: 'third',
        kind: 'web',
        secret,
        grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
        redirect_uris: [callback],
        scopes: ['offline_access', 'documents:read'],
        audiences: [documents],
      },
    ],
  }),
  staging: {
    tenant: 'staging',
    apis: [{ id: 'documents', audience: documents, scopes: ['documents:read'] }],
    clients: [
      {
        id: 'loyalty',
        secret: 'secret-of-staging-96e2aa',
        grant_types: ['client_credentials'],
        scopes: ['documents:read'],
        audiences: [documents],
      },
    ],
  },
});

const { post, decide } = wire(server.issuer);

for (const path of ['/auth', '/auth/', '/1/auth']) {
  test(`POST ${path}: a key or a password becomes a token`, async () => {
    for (const [headers, sub, type] of [
      [bearer(key), 'acme-key', 'apikey'],
      [basicUser(people.alice), 'alice', 'user'],
    ]) {
      const answer = await post(path, undefined, headers);
      assert.equal(answer.status, 200, JSON.stringify(answer));
      assert.deepEqual([answer.token_type, answer.expires_in], ['Bearer', 600]);
      assert.ok(answer.refresh_token && answer.refresh_expires_in > 0);
      const claims = jose.decodeJwt(answer.access_token);
      assert.deepEqual([claims.sub, claims.sub_type, claims.exp - claims.iat], [sub, type, 600]);
    }
  });
}

test('a user of two organizations says which one', async () => {
  const bob = basicUser(people.bob);
  const unclear = await post('/auth', undefined, bob);
  assert.equal(unclear.status, 400);
  assert.match(unclear.error_description, /acme.*globex/, 'the answer names the choices');
  const { access_token } = await post('/auth', JSON.stringify({ org: 'globex' }), { ...bob, ...json });
  assert.equal(jose.decodeJwt(access_token).org, 'globex');
});

test('a key works as it is, and its token like it, in one organization', async () => {
  const { access_token } = await post('/auth', JSON.stringify({ audience: documents }), { ...bearer(key), ...json });
  for (const token of [key, access_token]) {
    assert.equal(await decide(token, 'acme'), true);
    assert.equal(await decide(token, 'globex'), false);
    assert.equal(await decide(token, 'acme', 'documents:write'), false);
  }
  assert.equal(await decide('key-of-bob-no-developer-77', 'acme'), false, 'its owner is no developer');
});

test('/auth/refresh: each refresh token works once', async () => {
  const first = await post('/auth', undefined, bearer(key));
  const refresh = (refresh_token, path = '/auth/refresh') => post(path, JSON.stringify({ refresh_token }), json);
  const second = await refresh(first.refresh_token);
  assert.equal(second.status, 200);
  assert.deepEqual(Object.keys(second).sort(), Object.keys(first).sort());
  assert.notEqual(second.refresh_token, first.refresh_token);
  assert.equal((await refresh(second.refresh_token, '/1/auth/refresh')).status, 200);
  const reused = await refresh(first.refresh_token);
  assert.deepEqual([reused.status >= 400 && reused.status < 500, reused.access_token], [true, undefined]);
});

test('/auth: refusals', async () => {
  const { access_token } = await post('/auth', undefined, bearer(key));
  for (const [name, headers, body] of [
    ['no credential', {}],
    ['an unknown key', bearer('key-of-nobody')],
    ['a wrong password', basic('alice', 'wrong')],
    ['an unknown user', basic('nobody', 'wrong')],
    ['a client', basic('loyalty', secret)],
    ['an access token', bearer(access_token)],
    ['a key whose owner is no developer', bearer('key-of-bob-no-developer-77')],
  ]) {
    const answer = await post('/auth', body, headers);
    assert.deepEqual([answer.status, answer.access_token], [401, undefined], name);
    assert.ok(answer.headers.get('www-authenticate'), name);
  }
  const [wrong, unknown] = [
    await post('/auth', undefined, basic('alice', 'wrong')),
    await post('/auth', undefined, basic('nobody', 'wrong')),
  ];
  assert.deepEqual([wrong.error, wrong.error_description, wrong.detail], [unknown.error, unknown.error_description, unknown.detail]);
  assert.ok([400, 401].includes((await post('/auth/refresh', JSON.stringify({ refresh_token: 'none' }), json)).status));
  assert.equal((await post('/auth/refresh', '{', json)).status, 400);
});

test('POST /oauth/token in JSON and as a form: an audience, per environment', async () => {
  const request = { client_id: 'loyalty', client_secret: secret, audience: documents, grant_type: 'client_credentials' };
  for (const answer of [await post('/oauth/token', JSON.stringify(request), json), await post('/oauth/token', request)]) {
    assert.equal(answer.status, 200, JSON.stringify(answer));
    assert.deepEqual([answer.token_type, answer.scope, answer.refresh_token], ['Bearer', 'documents:read', undefined]);
    const claims = jose.decodeJwt(answer.access_token);
    assert.deepEqual([claims.aud, claims.iss, claims.sub], [documents, server.issuer, 'loyalty']);
    assert.equal(await decide(answer.access_token, 'acme'), true);
  }
  const staging = { ...request, client_secret: 'secret-of-staging-96e2aa' };
  const answer = await wire(server.staging).post('/oauth/token', JSON.stringify(staging), json);
  assert.equal(jose.decodeJwt(answer.access_token).iss, server.staging);
  assert.equal(await decide(answer.access_token, 'acme'), false, 'a token of another environment');
  for (const [name, body, status, error] of [
    ['another audience', { ...request, audience: 'https://other.example' }, 400, 'invalid_target'],
    ['a wrong secret', { ...request, client_secret: 'wrong' }, 401, 'invalid_client'],
    ['the secret of another environment', staging, 401, 'invalid_client'],
    ['a number', { ...request, audience: 1 }, 400, 'invalid_request'],
    ['no grant type', { ...request, grant_type: undefined }, 400, 'invalid_request'],
    ['null', null, 400, 'invalid_request'],
    ['a list', [request], 400, 'invalid_request'],
  ]) {
    const refused = await post('/oauth/token', JSON.stringify(body), json);
    assert.deepEqual([refused.status, refused.error], [status, error], name);
  }
  const twice = `${JSON.stringify(request).slice(0, -1)},"client_id":"gateway"}`;
  assert.equal((await post('/oauth/token', twice, json)).status, 400, 'a name twice');
});

test('a partner acts for a user until the user takes it back', async () => {
  const insecure = { [oauth.allowInsecureRequests]: true };
  const as = await oauth.processDiscoveryResponse(new URL(server.issuer), await oauth.discoveryRequest(new URL(server.issuer), insecure));
  const partner = { client_id: 'partner' };
  const verifier = oauth.generateRandomCodeVerifier();
  const url = new URL(as.authorization_endpoint);
  url.search = new URLSearchParams({
    client_id: 'partner',
    redirect_uri: callback,
    response_type: 'code',
    scope: 'documents:read offline_access',
    resource: documents,
    state: 's',
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  });
  const browser = new Browser({ ...people.bob, org: 'globex' });
  const parameters = oauth.validateAuthResponse(as, partner, await browser.open(url, callback), 's');
  const response = await oauth.authorizationCodeGrantRequest(
    as,
    partner,
    oauth.ClientSecretBasic(secret),
    parameters,
    callback,
    verifier,
    insecure,
  );
  const tokens = await oauth.processAuthorizationCodeResponse(as, partner, response);
  const claims = jose.decodeJwt(tokens.access_token);
  assert.deepEqual([claims.sub, claims.azp, claims.client_id, claims.org], ['bob', 'partner', 'partner', 'globex']);
  assert.equal(await decide(tokens.access_token, 'globex'), true);
  assert.equal(await decide(tokens.access_token, 'globex', 'documents:write'), false, 'beyond what was agreed');
  assert.equal(await decide(tokens.access_token, 'acme'), false, 'bob is a member there, but has let the partner into globex');
  const own = await post(
    '/oauth/token',
    JSON.stringify({ client_id: 'partner', client_secret: secret, audience: documents, grant_type: 'client_credentials' }),
    json,
  );
  assert.equal(jose.decodeJwt(own.access_token).sub, 'partner');

  const account = await browser.fetch(new URL(`${server.issuer}/account`)).then((r) => r.text());
  assert.match(account, /Partner Sync/);
  const revoke = forms(account).find(({ action }) => action.endsWith('/revoke'));
  const fields = Object.fromEntries(revoke.fields.filter(({ name }) => name).map(({ name, value }) => [name, value]));
  const done = await browser.fetch(new URL(revoke.action, server.issuer), { method: 'POST', body: new URLSearchParams(fields) });
  assert.ok(done.status < 400, await done.text());
  assert.equal(await decide(tokens.access_token, 'globex'), false);
  const refused = await oauth.refreshTokenGrantRequest(as, partner, oauth.ClientSecretBasic(secret), tokens.refresh_token, insecure);
  assert.deepEqual([refused.status, (await refused.json()).error], [400, 'invalid_grant']);
});

for (const [name, credential, client, expected, org, elsewhere] of [
  ['a vendor and its partner', btoa(`${vendorToken}:${partnerToken}`), 'backupco-app', ['backupco', 'vendor'], 'acme', 'globex'],
  ['an integration that a user has enabled', integrationKey, 'syncly-app', ['bob', 'user'], 'globex', 'acme'],
]) {
  test(`${name}: the credential works as it is, and by token exchange`, async () => {
    const exchange = (id, more) => {
      const type = 'urn:ietf:params:oauth:token-type:access_token';
      const fields = { grant_type: exchangeGrant, subject_token: credential, subject_token_type: type, audience: documents, ...more };
      return post('/oauth2/token', fields, basic(id, secret));
    };
    const token = await exchange(client);
    assert.equal(token.status, 200, JSON.stringify(token));
    const claims = jose.decodeJwt(token.access_token);
    assert.deepEqual(
      [[claims.sub, claims.sub_type], claims.org, claims.scope, claims.client_id],
      [expected, org, 'documents:read', client],
    );
    for (const value of [credential, token.access_token]) {
      assert.equal(await decide(value, org), true);
      assert.equal(await decide(value, org, 'documents:write'), false);
      assert.equal(await decide(value, elsewhere), false);
    }
    assert.deepEqual([(await exchange(client, { scope: 'documents:write' })).error], ['invalid_scope']);
    const [other] = ['backupco-app', 'syncly-app'].filter((id) => id !== client);
    assert.equal((await exchange(other)).access_token, undefined, 'by the client of another vendor');
  });
}
