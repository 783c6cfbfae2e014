// npm oidc-provider as the identity provider of an organization: Mandate is its client and its resource server.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as jose from 'jose';
import * as oauth from 'oauth4webapi';
import Provider from 'oidc-provider';
import { Browser } from './browser.mjs';
import { callback, directory, documents } from './directory.mjs';
import { freePort, listen, start } from './server.mjs';
import { basic, wire } from './wire.mjs';

const secret = { provider: 'secret-at-provider-d0c1e7', portal: 'secret-of-portal-5cc2a9', service: 'secret-of-service-b3f4a1' };
const insecure = { [oauth.allowInsecureRequests]: true };
const jwtBearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';
const trust = 'https://mandate.initech.example/trust';

const port = await freePort();
const provider = `https://127.0.0.1:${port}`;
const server = await start({
  config: { connections: { allow_private: ['127.0.0.0/8'] } },
  directory: directory({
    orgs: [
      {
        id: 'initech',
        name: 'Initech',
        domains: ['initech.example'],
        connections: [
          {
            id: 'initech-idp',
            issuer: provider,
            client_id: 'mandate',
            client_secret: secret.provider,
            audiences: [documents],
            algorithm: 'RS256',
            role_claim: 'groups',
            role_mapping: { staff: 'viewer' },
          },
        ],
      },
    ],
    clients: [
      {
        id: 'portal',
        name: 'Portal',
        party: 'first',
        kind: 'web',
        secret: secret.portal,
        grant_types: ['authorization_code', 'refresh_token'],
        redirect_uris: [callback],
        scopes: ['openid', 'email', 'documents:read', 'offline_access'],
        audiences: [documents],
      },
      {
        id: 'service',
        name: 'Service',
        org: 'initech',
        secret: secret.service,
        grant_types: [exchangeGrant],
        scopes: ['documents:read'],
        audiences: [documents],
      },
      {
        id: 'ci',
        name: 'Deployments of Initech',
        org: 'initech',
        token_endpoint_auth_method: 'private_key_jwt',
        jwks: { keys: [await publicKey()] },
        grant_types: [jwtBearer],
        scopes: ['documents:read'],
        audiences: [documents],
        federated_credentials: [
          { issuer: provider, subject: 'build-job', audience: trust, algorithm: 'RS256', claims: { environment: 'production' } },
        ],
      },
    ],
  }),
});

async function publicKey() {
  return { ...(await jose.exportJWK((await jose.generateKeyPair('ES256')).publicKey)), kid: 'unused', alg: 'ES256' };
}

// serveProvider serves the provider with a new key until the end of the file, or until it is closed.
async function serveProvider() {
  const key = await jose.exportJWK((await jose.generateKeyPair('RS256', { extractable: true })).privateKey);
  const machine = { grant_types: ['client_credentials'], redirect_uris: [], response_types: [] };
  const idp = new Provider(provider, {
    jwks: { keys: [{ ...key, kid: crypto.randomUUID(), use: 'sig', alg: 'RS256' }] },
    cookies: { keys: ['of these tests'] },
    clients: [
      { client_id: 'mandate', client_secret: secret.provider, redirect_uris: [`${server.issuer}/login/callback`] },
      { client_id: 'build-job', client_secret: secret.provider, ...machine },
      { client_id: 'stranger', client_secret: secret.provider, ...machine },
    ],
    claims: { openid: ['sub', 'groups'], email: ['email', 'email_verified'], profile: ['name'] },
    conformIdTokenClaims: false,
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, email: `${id}@initech.example`, email_verified: true, groups: ['staff', 'chess club'] }),
    }),
    extraTokenClaims: (_, token) => ({ groups: token.clientId === 'build-job' ? ['staff'] : ['chess club'], environment: 'production' }),
    // A workload's token is a plain JWT, as those of build services are; the others are RFC 9068's.
    formats: {
      customizers: {
        jwt: (_, token, jwt) => {
          if (token.aud === trust) jwt.header = { ...jwt.header, typ: 'JWT' };
        },
      },
    },
    features: {
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, audience) => ({
          audience,
          scope: 'documents:read',
          accessTokenFormat: 'jwt',
          accessTokenTTL: 600,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  });
  return listen(idp.callback(), port, { secure: true });
}

let running = await serveProvider();

// machineToken is the provider's JWT for one of its clients.
async function machineToken(client_id, resource = documents) {
  const as = await oauth.processDiscoveryResponse(new URL(provider), await oauth.discoveryRequest(new URL(provider), insecure));
  const response = await oauth.clientCredentialsGrantRequest(
    as,
    { client_id },
    oauth.ClientSecretBasic(secret.provider),
    { resource, scope: 'documents:read' },
    insecure,
  );
  return (await oauth.processClientCredentialsResponse(as, { client_id }, response)).access_token;
}

const { token: tokenRequest, decide } = wire(server.issuer);

test('access tokens of the provider are accepted as they are, with the roles of its groups', async () => {
  const token = await machineToken('build-job');
  assert.equal(jose.decodeProtectedHeader(token).typ, 'at+jwt');
  for (const [name, asked, expected] of [
    ['what the role of the group permits', [token, 'initech'], true],
    ['what it does not', [token, 'initech', 'documents:write'], false],
    ['another organization', [token, 'acme'], false],
    ['a group without a role', [await machineToken('stranger'), 'initech'], false],
    ['another audience', [await machineToken('build-job', 'https://other.example'), 'initech'], false],
    ['a signature that is not good', [`${token.slice(0, -8)}AAAAAAAA`, 'initech'], false],
  ])
    assert.equal(await decide(...asked), expected, name);
});

test('the provider is down, then comes back with another key', async () => {
  const [token, unseen] = [await machineToken('build-job'), await machineToken('build-job')];
  await running.close();
  assert.equal(await decide(token, 'initech'), true, 'its keys are known');
  running = await serveProvider();
  const next = await machineToken('build-job');
  assert.notEqual(jose.decodeProtectedHeader(next).kid, jose.decodeProtectedHeader(token).kid);
  assert.equal(await decide(next, 'initech'), true, 'the new key is fetched');
  assert.equal(await decide(unseen, 'initech'), false, 'the old key is gone');
  assert.equal(await decide(await forged(), 'initech'), false, 'a key that nobody has');
});

async function forged() {
  const { privateKey } = await jose.generateKeyPair('RS256');
  return new jose.SignJWT({ groups: ['staff'], scope: 'documents:read' })
    .setProtectedHeader({ alg: 'RS256', kid: 'made-up', typ: 'at+jwt' })
    .setIssuer(provider)
    .setAudience(documents)
    .setSubject('build-job')
    .setIssuedAt()
    .setExpirationTime('5m')
    .sign(privateKey);
}

test('a person whose email is of the domain signs in at the provider, and is a member of that organization only', async () => {
  const as = await oauth.processDiscoveryResponse(new URL(server.issuer), await oauth.discoveryRequest(new URL(server.issuer), insecure));
  const verifier = oauth.generateRandomCodeVerifier();
  const url = new URL(as.authorization_endpoint);
  url.search = new URLSearchParams({
    client_id: 'portal',
    redirect_uri: callback,
    response_type: 'code',
    scope: 'openid email documents:read offline_access',
    resource: documents,
    state: 'of-this-test',
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  });
  const browser = new Browser({ username: 'peter@initech.example', login: 'peter', password: 'known to the provider only' });
  const back = await browser.open(url, callback);
  assert.ok(back instanceof URL, back.html);
  assert.ok(browser.titles.includes('Sign-in'), `the provider asked: ${browser.titles}`);
  const portal = { client_id: 'portal' };
  const authentication = oauth.ClientSecretBasic(secret.portal);
  const parameters = oauth.validateAuthResponse(as, portal, back, 'of-this-test');
  const response = await oauth.authorizationCodeGrantRequest(as, portal, authentication, parameters, callback, verifier, insecure);
  const tokens = await oauth.processAuthorizationCodeResponse(as, portal, response, { requireIdToken: true });
  const claims = jose.decodeJwt(tokens.access_token);
  assert.equal(claims.org, 'initech');
  assert.match(claims.sub, /peter/);
  const user = await oauth.processUserInfoResponse(
    as,
    portal,
    claims.sub,
    await oauth.userInfoRequest(as, portal, tokens.access_token, insecure),
  );
  assert.equal(user.email, 'peter@initech.example');
  assert.equal(await decide(tokens.access_token, 'initech'), true);
  assert.equal(await decide(tokens.access_token, 'initech', 'documents:write'), false);
  assert.equal(await decide(tokens.access_token, 'acme'), false);
  const refreshed = await oauth.refreshTokenGrantRequest(as, portal, authentication, tokens.refresh_token, insecure);
  assert.equal(jose.decodeJwt((await oauth.processRefreshTokenResponse(as, portal, refreshed)).access_token).org, 'initech');
});

test('the answer of a sign-in that another browser has begun is refused', async () => {
  const browser = new Browser({ username: 'peter@initech.example', login: 'peter', password: 'x' });
  const answer = await browser.open(`${server.issuer}/login`, `${server.issuer}/login/callback`);
  const other = await new Browser({}).open(answer);
  assert.ok(other.status >= 400 && other.status < 500, other.html);
});

test('token exchange of a token of the provider', async () => {
  const service = basic('service', secret.service);
  const exchange = (subject_token, more) =>
    tokenRequest(
      {
        grant_type: exchangeGrant,
        subject_token,
        subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
        resource: documents,
        ...more,
      },
      service,
    );
  const token = await exchange(await machineToken('build-job'));
  assert.equal(token.status, 200, JSON.stringify(token));
  const claims = jose.decodeJwt(token.access_token);
  assert.deepEqual([claims.org, claims.scope, claims.iss], ['initech', 'documents:read', server.issuer]);
  assert.match(claims.sub, /build-job/);
  assert.equal(await decide(token.access_token, 'initech'), true);
  assert.equal((await exchange(await machineToken('build-job', 'https://other.example'))).error, 'invalid_request');
  assert.equal((await exchange(await machineToken('build-job'), { scope: 'documents:write' })).error, 'invalid_scope');
});

test('RFC 7523: a workload gets a token for its own, without a stored secret', async () => {
  const grant = (assertion) => tokenRequest({ grant_type: jwtBearer, assertion, resource: documents });
  const assertion = await machineToken('build-job', trust);
  const token = await grant(assertion);
  assert.equal(token.status, 200, JSON.stringify(token));
  const claims = jose.decodeJwt(token.access_token);
  assert.deepEqual(
    [claims.sub, claims.client_id, claims.scope, claims.aud, token.refresh_token],
    ['ci', 'ci', 'documents:read', documents, undefined],
  );
  for (const [name, refused] of [
    ['§3: used twice', assertion],
    ['§3: another subject', await machineToken('stranger', trust)],
    ['§3: another audience', await machineToken('build-job')],
    ['§3: not signed by the issuer', await forged()],
    ['not a JWT', 'anything'],
  ]) {
    const answer = await grant(refused);
    assert.deepEqual([answer.status, answer.error], [400, 'invalid_grant'], name);
  }
});
