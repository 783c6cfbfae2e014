// openid-client, which is certified by the OpenID Foundation, as a partner's developer would use it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as jose from 'jose';
import * as client from 'openid-client';
import { Browser } from './browser.mjs';
import { callback, directory, documents, people } from './directory.mjs';
import { start } from './server.mjs';

const { privateKey, publicKey } = await jose.generateKeyPair('ES256', { extractable: true });
const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code';
const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';
const web = {
  kind: 'web',
  grant_types: ['authorization_code', 'refresh_token'],
  redirect_uris: [callback],
  audiences: [documents],
  scopes: ['openid', 'profile', 'email', 'offline_access', 'documents:read', 'documents:write'],
};
const server = await start({
  directory: directory({
    clients: [
      { id: 'portal', name: 'Portal', party: 'first', secret: 'secret-of-portal-77ad01', ...web },
      {
        id: 'partner',
        name: 'Partner',
        party: 'third',
        token_endpoint_auth_method: 'client_secret_post',
        secret: 'secret-of-partner-90c2ee',
        ...web,
      },
      {
        id: 'signer',
        name: 'Signer',
        party: 'first',
        token_endpoint_auth_method: 'private_key_jwt',
        require_pushed_authorization_requests: true,
        jwks: { keys: [{ ...(await jose.exportJWK(publicKey)), kid: 'signer-1', alg: 'ES256', use: 'sig' }] },
        ...web,
        grant_types: [...web.grant_types, 'client_credentials'],
      },
      {
        id: 'desktop',
        name: 'Desktop',
        party: 'first',
        ...web,
        kind: 'native',
        token_endpoint_auth_method: 'none',
        redirect_uris: ['http://127.0.0.1/callback'],
      },
      {
        id: 'tool',
        name: 'Command line tool',
        party: 'third',
        ...web,
        kind: 'native',
        token_endpoint_auth_method: 'none',
        grant_types: [deviceGrant, 'refresh_token'],
        redirect_uris: [],
      },
      {
        id: 'sync',
        name: 'Nightly synchronisation',
        party: 'first',
        org: 'acme',
        secret: 'secret-of-sync-1c33f8',
        grant_types: ['client_credentials', exchangeGrant],
        scopes: ['documents:read'],
        audiences: [documents],
      },
    ],
  }),
});

const authentications = {
  portal: client.ClientSecretBasic('secret-of-portal-77ad01'),
  partner: client.ClientSecretPost('secret-of-partner-90c2ee'),
  signer: client.PrivateKeyJwt({ key: privateKey, kid: 'signer-1' }),
  desktop: client.None(),
  tool: client.None(),
  sync: client.ClientSecretBasic('secret-of-sync-1c33f8'),
  gateway: client.ClientSecretBasic('secret-of-gateway-5b1f0c'),
};
const discover = (id, options = {}) =>
  client.discovery(new URL(server.issuer), id, undefined, authentications[id], { execute: [client.allowInsecureRequests], ...options });

// signIn is the code flow: parameters are those of the authorization request beside what every one has.
async function signIn(config, browser, { redirect_uri = callback, push = false, DPoP, redeemWith = DPoP, ...parameters } = {}) {
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const [expectedState, expectedNonce] = [client.randomState(), client.randomNonce()];
  const build = push ? client.buildAuthorizationUrlWithPAR : client.buildAuthorizationUrl;
  const url = await build(
    config,
    {
      redirect_uri,
      scope: 'openid',
      state: expectedState,
      nonce: expectedNonce,
      code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
      code_challenge_method: 'S256',
      ...parameters,
    },
    { DPoP },
  );
  const back = await browser.open(url, redirect_uri);
  assert.ok(back instanceof URL, back.html);
  return client.authorizationCodeGrant(config, back, { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true }, undefined, {
    DPoP: redeemWith ?? undefined,
  });
}

const refusal = (error, status) => ({ error, ...(status && { status }) });

for (const algorithm of ['oidc', 'oauth2']) {
  test(`discovery (${algorithm}) of both tenants`, async () => {
    for (const issuer of [server.issuer, server.staging]) {
      const config = await client.discovery(new URL(issuer), 'portal', undefined, undefined, {
        algorithm,
        execute: [client.allowInsecureRequests],
      });
      assert.equal(config.serverMetadata().issuer, issuer);
      assert.ok(config.serverMetadata().supportsPKCE());
    }
  });
}

test('a first-party client: code, PKCE, nonce, userinfo, refresh', async () => {
  const config = await discover('portal');
  const browser = new Browser(people.alice);
  const tokens = await signIn(config, browser, { scope: 'openid profile email offline_access' });
  assert.deepEqual(
    browser.titles.filter((title) => /access/.test(title)),
    [],
    'there is no consent page',
  );
  const claims = tokens.claims();
  assert.equal(claims.sub, 'alice');
  assert.equal(tokens.token_type, 'bearer');
  assert.ok(tokens.expiresIn() > 0);
  const user = await client.fetchUserInfo(config, tokens.access_token, claims.sub);
  assert.deepEqual([user.preferred_username, user.email], ['alice', 'alice@acme.example']);

  const next = await client.refreshTokenGrant(config, tokens.refresh_token);
  assert.notEqual(next.refresh_token, tokens.refresh_token);
  assert.equal(next.claims().sub, 'alice');
  assert.equal(next.claims().auth_time, claims.auth_time);
  await client.refreshTokenGrant(config, next.refresh_token);
  await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token), refusal('invalid_grant', 400));
  await assert.rejects(client.refreshTokenGrant(config, next.refresh_token), refusal('invalid_grant'), 'the whole family has ended');
  await server.logged(/refresh_token_reused/);
  await assert.rejects(client.fetchUserInfo(config, tokens.access_token, claims.sub), { status: 401 });
});

test('a session spares the second login; prompt=none, prompt=login and max_age', async () => {
  const config = await discover('portal');
  const browser = new Browser(people.alice);
  const url = async (more) =>
    client.buildAuthorizationUrl(config, {
      redirect_uri: callback,
      scope: 'openid',
      state: 'x',
      ...more,
      code_challenge: await client.calculatePKCECodeChallenge(client.randomPKCECodeVerifier()),
      code_challenge_method: 'S256',
    });
  const refused = await browser.open(await url({ prompt: 'none' }), callback);
  assert.deepEqual(
    [refused.searchParams.get('error'), refused.searchParams.get('state'), refused.searchParams.get('iss')],
    ['login_required', 'x', server.issuer],
  );
  await signIn(config, browser);
  const pages = browser.titles.length;
  await signIn(config, browser);
  assert.ok((await browser.open(await url({ prompt: 'none' }), callback)).searchParams.get('code'));
  assert.equal(browser.titles.length, pages);
  const { auth_time } = (await signIn(config, browser, { max_age: 600 })).claims();
  assert.ok(Number.isInteger(auth_time));
  await signIn(config, browser, { prompt: 'login' });
  assert.ok(browser.titles.length > pages);
});

test('a first-party client of a user of two organizations: a choice, no consent', async () => {
  const config = await discover('portal');
  const browser = new Browser({ ...people.bob, org: 'globex' });
  const tokens = await signIn(config, browser, { scope: 'openid documents:read', resource: documents });
  assert.ok(
    browser.titles.some((title) => title.startsWith('Choose an organization')),
    browser.titles.join(),
  );
  assert.equal(jose.decodeJwt(tokens.access_token).org, 'globex');
  const asked = await signIn(config, browser, { scope: 'openid documents:read', resource: documents, org: 'acme' });
  assert.equal(jose.decodeJwt(asked.access_token).org, 'acme', 'the request may say which one');
  await assert.rejects(signIn(config, new Browser(people.alice), { scope: 'openid documents:read', resource: documents, org: 'globex' }), {
    error: 'access_denied',
  });
});

test('a third-party client: consent for one of two organizations, offline_access, and no', async () => {
  const config = await discover('partner');
  const browser = new Browser({ ...people.bob, org: 'globex' });
  const tokens = await signIn(config, browser, { scope: 'openid documents:read offline_access', resource: documents });
  assert.ok(
    browser.titles.some((title) => title.includes('Partner asks for access')),
    browser.titles.join(),
  );
  const claims = jose.decodeJwt(tokens.access_token);
  assert.deepEqual([claims.sub, claims.azp, claims.client_id, claims.org, claims.aud], ['bob', 'partner', 'partner', 'globex', documents]);
  assert.ok(claims.scope.split(' ').includes('documents:read'));
  assert.equal(jose.decodeJwt((await client.refreshTokenGrant(config, tokens.refresh_token)).access_token).org, 'globex');
  await assert.rejects(signIn(config, new Browser({ ...people.bob, decision: 'deny' }), { scope: 'openid documents:read' }), {
    error: 'access_denied',
  });
});

test('pushed authorization requests and private_key_jwt', async () => {
  const config = await discover('signer');
  assert.equal((await signIn(config, new Browser(people.alice), { push: true })).claims().sub, 'alice');
  await assert.rejects(signIn(config, new Browser(people.alice)), { error: 'invalid_request' });
  const token = await client.clientCredentialsGrant(config, { resource: documents, scope: 'documents:read' });
  assert.equal(jose.decodeJwt(token.access_token).sub, 'signer');
});

test('a public native client on a loopback port of its choice', async () => {
  const config = await discover('desktop');
  for (const port of [49152, 51004]) {
    const tokens = await signIn(config, new Browser(people.alice), {
      redirect_uri: `http://127.0.0.1:${port}/callback`,
      scope: 'openid offline_access',
    });
    assert.equal((await client.refreshTokenGrant(config, tokens.refresh_token)).claims().sub, 'alice');
  }
});

test('device authorization: pending, then approved; denied', async () => {
  const config = await discover('tool');
  const begin = () => client.initiateDeviceAuthorization(config, { scope: 'openid offline_access documents:read', resource: documents });
  const begun = await begin();
  const poll = () => client.genericGrantRequest(config, deviceGrant, { device_code: begun.device_code });
  await assert.rejects(poll(), refusal('authorization_pending', 400));
  await assert.rejects(poll(), refusal('slow_down', 400));
  const done = await new Browser({ ...people.alice, user_code: begun.user_code }).open(begun.verification_uri);
  assert.equal(done.status, 200, done.html);
  const tokens = await client.pollDeviceAuthorizationGrant(config, { ...begun, interval: 1 });
  assert.equal(jose.decodeJwt(tokens.access_token).sub, 'alice');
  assert.equal(jose.decodeJwt((await client.refreshTokenGrant(config, tokens.refresh_token)).access_token).azp, 'tool');
  await assert.rejects(poll(), refusal('invalid_grant'));

  const second = await begin();
  await new Browser({ ...people.alice, decision: 'deny' }).open(second.verification_uri_complete);
  await assert.rejects(client.pollDeviceAuthorizationGrant(config, { ...second, interval: 1 }), { error: 'access_denied' });
});

test('DPoP with a nonce: the code flow of a public client', async () => {
  const config = await discover('desktop');
  const keys = await client.randomDPoPKeyPair('ES256', { extractable: true });
  const DPoP = client.getDPoPHandle(config, keys);
  const tokens = await signIn(config, new Browser(people.alice), {
    redirect_uri: 'http://127.0.0.1:50000/callback',
    scope: 'openid offline_access',
    DPoP,
  });
  assert.equal(tokens.token_type, 'dpop');
  const thumbprint = await jose.calculateJwkThumbprint(await jose.exportJWK(keys.publicKey));
  assert.equal(jose.decodeJwt(tokens.access_token).cnf.jkt, thumbprint);
  assert.equal((await client.fetchUserInfo(config, tokens.access_token, 'alice', { DPoP })).sub, 'alice');
  await assert.rejects(client.fetchUserInfo(config, tokens.access_token, 'alice'), { status: 401 }, 'RFC 9449 §7.2: not as Bearer');
  const other = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'));
  await assert.rejects(
    client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP: other }),
    refusal('invalid_grant'),
    'RFC 9449 §5: bound to the key',
  );
  const next = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP });
  assert.equal(jose.decodeJwt(next.access_token).cnf.jkt, thumbprint);
});

test('RFC 9449 §10: a code is for the key that the authorization request named, by dpop_jkt or by the proof of a pushed one', async () => {
  const config = await discover('portal');
  for (const push of [false, true]) {
    const keys = await client.randomDPoPKeyPair('ES256', { extractable: true });
    const dpop_jkt = await jose.calculateJwkThumbprint(await jose.exportJWK(keys.publicKey));
    const [own, other] = [client.getDPoPHandle(config, keys), client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'))];
    const parameters = { push, ...(!push && { dpop_jkt }) };
    assert.equal((await signIn(config, new Browser(people.alice), { ...parameters, DPoP: own })).token_type, 'dpop');
    await assert.rejects(
      signIn(config, new Browser(people.alice), { ...parameters, DPoP: own, redeemWith: other }),
      refusal('invalid_grant', 400),
      `pushed: ${push}`,
    );
    await assert.rejects(
      signIn(config, new Browser(people.alice), { ...parameters, DPoP: own, redeemWith: null }),
      refusal('invalid_grant', 400),
      `as a bearer token, pushed: ${push}`,
    );
  }
});

test('client_credentials with a resource', async () => {
  const config = await discover('sync');
  const token = await client.clientCredentialsGrant(config, { resource: documents });
  const claims = jose.decodeJwt(token.access_token);
  assert.deepEqual(
    [claims.aud, claims.sub, claims.client_id, claims.org, token.scope],
    [documents, 'sync', 'sync', 'acme', 'documents:read'],
  );
  assert.equal(token.refresh_token, undefined);
  for (const [parameters, error] of [
    [{ resource: 'https://other.example' }, 'invalid_target'],
    [{ resource: `${documents}#part` }, 'invalid_target'],
    [{ resource: documents, scope: 'documents:write' }, 'invalid_scope'],
    [{ resource: documents, scope: 'a "b"' }, 'invalid_scope'],
  ])
    await assert.rejects(client.clientCredentialsGrant(config, parameters), refusal(error, 400), JSON.stringify(parameters));
});

test('token exchange: a service acts for the user whose token it was given', async () => {
  const userToken = async (org) =>
    await signIn(await discover('partner'), new Browser({ ...people.bob, org }), { scope: 'openid documents:read', resource: documents });
  const [own, foreign] = [await userToken('acme'), await userToken('globex')];
  const config = await discover('sync');
  const exchange = (subject_token, more) =>
    client.genericGrantRequest(config, exchangeGrant, {
      subject_token,
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      resource: documents,
      scope: 'documents:read',
      ...more,
    });
  const exchanged = await exchange(own.access_token);
  assert.equal(exchanged.issued_token_type, 'urn:ietf:params:oauth:token-type:access_token');
  const claims = jose.decodeJwt(exchanged.access_token);
  assert.deepEqual([claims.sub, claims.org, claims.scope, claims.act?.sub], ['bob', 'acme', 'documents:read', 'sync']);
  assert.ok(claims.exp <= jose.decodeJwt(own.access_token).exp);
  for (const [name, token, more, error] of [
    ['sync may act in acme only', foreign.access_token, {}, 'access_denied'],
    ['nobody here has that scope', own.access_token, { scope: 'documents:write' }, 'invalid_scope'],
    ['a token that was changed', `${own.access_token}x`, {}, 'invalid_request'],
    ['an ID token', own.id_token, {}, 'invalid_request'],
    ['another type', own.access_token, { subject_token_type: 'urn:ietf:params:oauth:token-type:saml2' }, 'invalid_request'],
    ['an actor type without actor', own.access_token, { actor_token_type: 'urn:ietf:params:oauth:token-type:jwt' }, 'invalid_request'],
    ['a target that sync has no grant for', own.access_token, { resource: 'https://other.example' }, 'invalid_target'],
  ])
    await assert.rejects(exchange(token, more), refusal(error, 400), name);
});

test('introspection and revocation', async () => {
  const [config, gateway] = [await discover('partner'), await discover('gateway')];
  const tokens = await signIn(config, new Browser({ ...people.bob, org: 'globex' }), {
    scope: 'openid documents:read offline_access',
    resource: documents,
  });
  const found = await client.tokenIntrospection(gateway, tokens.access_token);
  const claims = jose.decodeJwt(tokens.access_token);
  assert.deepEqual(
    [found.active, found.sub, [found.aud].flat(), found.client_id, found.scope, found.exp],
    [true, 'bob', [documents], 'partner', claims.scope, claims.exp],
  );
  await client.tokenRevocation(await discover('portal'), tokens.refresh_token);
  assert.equal(
    (await client.tokenIntrospection(gateway, tokens.access_token)).active,
    true,
    'RFC 7009 §2.1: another client revokes nothing',
  );
  await client.tokenRevocation(config, tokens.refresh_token, { token_type_hint: 'access_token' });
  await client.tokenRevocation(config, tokens.refresh_token);
  await client.tokenRevocation(config, 'never-seen-by-anybody');
  assert.deepEqual({ ...(await client.tokenIntrospection(gateway, tokens.access_token)) }, { active: false });
  await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token), refusal('invalid_grant'));
});

test('RFC 9207, state, and codes that are not for this request are refused', async () => {
  const config = await discover('portal');
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const request = {
    redirect_uri: callback,
    scope: 'openid',
    state: 'of-this-browser',
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
  };
  const back = await new Browser(people.alice).open(client.buildAuthorizationUrl(config, request), callback);
  assert.equal(back.searchParams.get('iss'), server.issuer);
  const changed = (name, value) => {
    const url = new URL(back);
    if (value === undefined) url.searchParams.delete(name);
    else url.searchParams.set(name, value);
    return url;
  };
  const checks = { pkceCodeVerifier, expectedState: 'of-this-browser' };
  for (const [name, url, more] of [
    ['another issuer', changed('iss', server.staging)],
    ['no issuer', changed('iss')],
    ['another state', changed('state', 'x')],
  ])
    await assert.rejects(client.authorizationCodeGrant(config, url, { ...checks, ...more }), { code: 'OAUTH_INVALID_RESPONSE' }, name);
  await assert.rejects(
    client.authorizationCodeGrant(config, back, { ...checks, pkceCodeVerifier: client.randomPKCECodeVerifier() }),
    refusal('invalid_grant', 400),
  );
  const tokens = await client.authorizationCodeGrant(config, back, checks);
  await assert.rejects(client.authorizationCodeGrant(config, back, checks), refusal('invalid_grant', 400), 'a code works once');
  await assert.rejects(
    client.fetchUserInfo(config, tokens.access_token, 'alice'),
    { status: 401 },
    'RFC 6749 §4.1.2: what a replayed code gave has ended',
  );
  await server.logged(/code_replayed/);
});
