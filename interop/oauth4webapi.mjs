// oauth4webapi: each step that openid-client takes by itself, one by one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as jose from 'jose';
import * as oauth from 'oauth4webapi';
import { Browser } from './browser.mjs';
import { callback, directory, documents, people } from './directory.mjs';
import { start } from './server.mjs';
import { basic, prover as prove, sha256 } from './wire.mjs';

const secret = 'secret-of-both-2e77d1';
const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code';
const code = {
  grant_types: ['authorization_code', 'refresh_token'],
  redirect_uris: [callback],
  scopes: ['openid', 'documents:read'],
  audiences: [documents],
};
const server = await start({
  directory: directory({
    clients: [
      {
        id: 'prover',
        name: 'Proves its key',
        secret,
        grant_types: ['client_credentials'],
        scopes: ['decide', 'documents:read'],
        audiences: [documents],
        dpop_bound_access_tokens: true,
      },
      { id: 'portal', name: 'Portal', party: 'first', kind: 'web', secret, ...code },
      { id: 'tv', name: 'Television', kind: 'native', token_endpoint_auth_method: 'none', grant_types: [deviceGrant], scopes: ['openid'] },
    ],
  }),
  staging: {
    tenant: 'staging',
    clients: [{ id: 'portal', name: 'Portal', party: 'first', kind: 'web', secret, ...code, audiences: undefined, scopes: ['openid'] }],
  },
});

const insecure = { [oauth.allowInsecureRequests]: true };
const [prover, portal, tv, gateway] = ['prover', 'portal', 'tv', 'gateway'].map((client_id) => ({ client_id }));
const authentication = oauth.ClientSecretBasic(secret);
const discover = async (issuer, algorithm = 'oidc') =>
  oauth.processDiscoveryResponse(new URL(issuer), await oauth.discoveryRequest(new URL(issuer), { ...insecure, algorithm }));
const as = await discover(server.issuer);

// withNonce sends a request again with the nonce that its answer asks for (RFC 9449 §8), and tells whether it had to.
async function withNonce(request, process) {
  try {
    return { asked: false, result: await process(await request()) };
  } catch (error) {
    assert.ok(oauth.isDPoPNonceError(error), error);
    return { asked: true, result: await process(await request()) };
  }
}

test('RFC 8414 §2, OpenID Connect Discovery §3: both documents agree and list what works', async () => {
  for (const issuer of [server.issuer, server.staging]) {
    const [openID, plain] = [await discover(issuer), await discover(issuer, 'oauth2')];
    for (const [name, value] of Object.entries(plain)) assert.deepEqual(openID[name], value, name);
    assert.equal(plain.authorization_response_iss_parameter_supported, true);
    assert.deepEqual(plain.code_challenge_methods_supported, ['S256']);
    assert.deepEqual(plain.response_types_supported, ['code']);
    for (const grant of ['implicit', 'password']) assert.ok(!plain.grant_types_supported.includes(grant));
    assert.ok(openID.id_token_signing_alg_values_supported.includes('RS256'));
    assert.ok(openID.subject_types_supported.includes('public'));
    for (const [name, value] of Object.entries(openID)) {
      assert.ok(!(Array.isArray(value) && value.length === 0), `§3.2: ${name} is empty`);
      if (name.includes('_alg_values_supported')) assert.ok(!value.includes('none') && !value.includes('HS256'), name);
      if (name === 'introspection_endpoint_auth_methods_supported')
        assert.ok(!value.includes('none'), 'RFC 7662 §2.1: nobody introspects without authentication');
      if (name.endsWith('_endpoint') || name === 'jwks_uri') {
        const { status } = await fetch(value, { method: 'OPTIONS' });
        assert.notEqual(status, 404, `${name} is there`);
      }
    }
  }
});

test('RFC 9728: the 401 of a resource leads to its authorization server', async () => {
  const response = await fetch(`${server.issuer}/access/v1/evaluation`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{}',
  });
  assert.equal(response.status, 401);
  const [, url] = /resource_metadata="([^"]+)"/.exec(response.headers.get('www-authenticate')) ?? [];
  assert.equal(url, `${server.issuer}/.well-known/oauth-protected-resource`);
  for (const resource of [server.issuer, server.staging]) {
    const metadata = await oauth.processResourceDiscoveryResponse(
      new URL(resource),
      await oauth.resourceDiscoveryRequest(new URL(resource), insecure),
    );
    assert.deepEqual(metadata.authorization_servers, [resource]);
    assert.deepEqual(metadata.bearer_methods_supported, ['header']);
  }
});

test('RFC 9449: tokens bound to a key, at the token endpoint and at a resource', async () => {
  const keys = await oauth.generateKeyPair('ES256', { extractable: true });
  const DPoP = oauth.DPoP(prover, keys);
  const bearer = await oauth.clientCredentialsGrantRequest(
    as,
    prover,
    authentication,
    { resource: server.issuer, scope: 'decide' },
    insecure,
  );
  assert.equal(bearer.status, 400, '§5.2: the client has to prove a key');
  const { result: token } = await withNonce(
    () =>
      oauth.clientCredentialsGrantRequest(as, prover, authentication, { resource: server.issuer, scope: 'decide' }, { ...insecure, DPoP }),
    (response) => oauth.processClientCredentialsResponse(as, prover, response),
  );
  assert.equal(token.token_type, 'dpop');
  assert.equal(jose.decodeJwt(token.access_token).cnf.jkt, await jose.calculateJwkThumbprint(await jose.exportJWK(keys.publicKey)));

  const url = new URL(`${server.issuer}/access/v1/evaluation`);
  const headers = new Headers({ 'content-type': 'application/json' });
  const body = JSON.stringify({
    subject: { type: 'user', id: 'alice' },
    action: { name: 'documents:read' },
    resource: { type: 'document', id: 'plan', properties: { org: 'acme' } },
  });
  const ask = (proof, accessToken = token.access_token) =>
    oauth.protectedResourceRequest(accessToken, 'POST', url, headers, body, { ...insecure, ...proof });
  const { result: decision } = await withNonce(
    () => ask({ DPoP }),
    (response) => response.json(),
  );
  assert.equal(decision.decision, true);

  for (const [name, proof] of [
    ['§7.2: as a bearer token', {}],
    ['§7.1: with another key', { DPoP: oauth.DPoP(prover, await oauth.generateKeyPair('ES256')) }],
  ]) {
    await assert.rejects(
      withNonce(
        () => ask(proof),
        (response) => response,
      ),
      ({ status, cause }) => {
        assert.equal(status, 401, name);
        const dpop = cause.find(({ scheme }) => scheme === 'dpop');
        assert.match(dpop.parameters.algs, /ES256/, name);
        assert.equal(cause.find(({ parameters }) => parameters.error)?.scheme, proof.DPoP ? 'dpop' : 'bearer', name);
        return true;
      },
    );
  }
});

test('RFC 9449 §8, §9: without a good nonce the answer is 400 use_dpop_nonce, at a resource 401, with a nonce', async () => {
  const { proof } = await prove();
  const ask = async (nonce) =>
    fetch(as.token_endpoint, {
      method: 'POST',
      body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'decide', resource: server.issuer }),
      headers: { ...basic('prover', secret), dpop: await proof('POST', as.token_endpoint, { nonce }) },
    });
  const first = await ask(undefined);
  assert.deepEqual([first.status, (await first.json()).error], [400, 'use_dpop_nonce']);
  assert.equal((await ask('made up')).status, 400);
  const token = await ask(first.headers.get('dpop-nonce'));
  const { access_token, token_type } = await token.json();
  assert.equal(token_type, 'DPoP');
  const ath = await sha256(access_token);
  const url = `${server.issuer}/access/v1/evaluation`;
  const refused = await fetch(url, {
    method: 'POST',
    headers: { authorization: `DPoP ${access_token}`, dpop: await proof('POST', url, { ath }), 'content-type': 'application/json' },
    body: '{}',
  });
  assert.equal(refused.status, 401);
  assert.match(refused.headers.get('www-authenticate'), /DPoP .*error="use_dpop_nonce"/);
  assert.match(refused.headers.get('www-authenticate'), /algs="[^"]*ES256/);
  assert.ok(refused.headers.get('dpop-nonce'));
});

// codeOf signs alice in and returns the redirect's answer with the verifier that redeems its code.
async function codeOf(server_, more = {}) {
  const verifier = oauth.generateRandomCodeVerifier();
  const url = new URL(server_.authorization_endpoint);
  url.search = new URLSearchParams({
    client_id: 'portal',
    redirect_uri: callback,
    response_type: 'code',
    scope: 'openid',
    state: 's',
    nonce: 'n',
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...more,
  });
  const back = await new Browser(people.alice).open(url, callback);
  assert.ok(back instanceof URL, back.html);
  return { back, verifier };
}

test('RFC 9068, RFC 7662: an access token validated by its signature and by introspection', async () => {
  const { back, verifier } = await codeOf(as, { scope: 'openid documents:read', resource: documents });
  const parameters = oauth.validateAuthResponse(as, portal, back, 's');
  const response = await oauth.authorizationCodeGrantRequest(as, portal, authentication, parameters, callback, verifier, insecure);
  const tokens = await oauth.processAuthorizationCodeResponse(as, portal, response, { expectedNonce: 'n', requireIdToken: true });
  const request = new Request('https://documents.example/x', { headers: { authorization: `Bearer ${tokens.access_token}` } });
  const claims = await oauth.validateJwtAccessToken(as, request, documents, insecure);
  assert.deepEqual([claims.sub, claims.client_id, claims.org], ['alice', 'portal', 'acme']);
  await assert.rejects(oauth.validateJwtAccessToken(as, request, 'https://other.example', insecure));
  const introspection = await oauth.introspectionRequest(
    as,
    gateway,
    oauth.ClientSecretBasic('secret-of-gateway-5b1f0c'),
    tokens.access_token,
    insecure,
  );
  const found = await oauth.processIntrospectionResponse(as, gateway, introspection);
  for (const name of ['sub', 'client_id', 'scope', 'exp', 'iat', 'iss', 'jti']) assert.equal(found[name], claims[name], name);
  const idToken = oauth.getValidatedIdTokenClaims(tokens);
  assert.equal(idToken.sub, claims.sub);
  await oauth.validateApplicationLevelSignature(as, response, insecure);
});

test('RFC 9207 §2.4: an answer of one tenant is not taken for that of another', async () => {
  const staging = await discover(server.staging);
  const { back } = await codeOf(as);
  assert.throws(() => oauth.validateAuthResponse(staging, portal, back, 's'), { code: oauth.INVALID_RESPONSE });
  // A client that does not look sends the code to the wrong place, where it is worth nothing.
  const { back: second, verifier } = await codeOf(as);
  second.searchParams.set('iss', server.staging);
  const parameters = oauth.validateAuthResponse(staging, portal, second, 's');
  const response = await oauth.authorizationCodeGrantRequest(staging, portal, authentication, parameters, callback, verifier, insecure);
  await assert.rejects(oauth.processAuthorizationCodeResponse(staging, portal, response), { error: 'invalid_grant' });
});

test('RFC 8628: device authorization, step by step', async () => {
  const begun = await oauth.processDeviceAuthorizationResponse(
    as,
    tv,
    await oauth.deviceAuthorizationRequest(as, tv, oauth.None(), { scope: 'openid' }, insecure),
  );
  assert.ok(begun.expires_in > 0 && begun.interval > 0);
  assert.match(begun.user_code, /^[A-Z0-9]+(-[A-Z0-9]+)*$/);
  assert.equal(new URL(begun.verification_uri_complete).searchParams.get('user_code'), begun.user_code);
  const poll = async () =>
    oauth.processDeviceCodeResponse(as, tv, await oauth.deviceCodeGrantRequest(as, tv, oauth.None(), begun.device_code, insecure));
  await assert.rejects(poll(), { error: 'authorization_pending' });
  await new Browser({ ...people.alice }).open(begun.verification_uri_complete);
  assert.equal(oauth.getValidatedIdTokenClaims(await poll()).sub, 'alice');
});

test('RFC 6749 §4.1.2.1: what the client is told by redirect, with state and issuer', async () => {
  for (const [name, parameters, error] of [
    ['§4.1.2.1 response_type', { response_type: 'token' }, 'unsupported_response_type'],
    ['§3.3 scope', { scope: 'openid nothing:here' }, 'invalid_scope'],
    ['§3.3 characters', { scope: 'openid "x"' }, 'invalid_scope'],
    ['RFC 7636 §4.4.1 no challenge', { code_challenge: '' }, 'invalid_request'],
    ['RFC 7636 §4.3 no method', { code_challenge_method: '' }, 'invalid_request'],
    ['RFC 7636 §4.2 plain', { code_challenge_method: 'plain' }, 'invalid_request'],
    ['RFC 7636 §4.2 short', { code_challenge: 'short' }, 'invalid_request'],
    ['RFC 8707 §2', { resource: 'https://other.example' }, 'invalid_target'],
    ['RFC 8707 §2 fragment', { resource: `${documents}#x` }, 'invalid_target'],
    ['Core §3.1.2.1 prompt', { prompt: 'none login' }, 'invalid_request'],
    ['Core §3.1.2.6 request', { request: 'x.y.z' }, 'request_not_supported'],
    ['Core §3.1.2.6 request_uri', { request_uri: 'https://evil.example/request' }, 'request_uri_not_supported'],
  ]) {
    const { back } = await codeOf(as, { state: 'a state with "quotes", ümlaut & +', ...parameters });
    assert.deepEqual(
      [back.searchParams.get('error'), back.searchParams.get('state'), back.searchParams.get('iss')],
      [error, 'a state with "quotes", ümlaut & +', server.issuer],
      name,
    );
    assert.match(back.searchParams.get('error_description'), /^[\x20\x21\x23-\x5B\x5D-\x7E]*$/, name);
  }
});
