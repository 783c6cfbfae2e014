// jose, as an API verifies tokens: by the published keys alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as jose from 'jose';
import { callback, directory } from './directory.mjs';
import { start } from './server.mjs';
import { basic, bearer, json, wire } from './wire.mjs';

const algorithms = ['ES256', 'RS256', 'PS256', 'EdDSA'];
const audience = (alg) => `https://${alg.toLowerCase()}.example`;
const secret = 'secret-of-worker-f00d42';
const server = await start({
  directory: directory({
    apis: algorithms.map((alg) => ({ id: alg.toLowerCase(), audience: audience(alg), scopes: ['things:read'], signing_alg: alg })),
    clients: [
      {
        id: 'worker',
        secret,
        grant_types: ['client_credentials'],
        scopes: ['things:read', 'decide', 'manage'],
        audiences: algorithms.map(audience),
      },
      {
        id: 'web-default',
        kind: 'web',
        party: 'first',
        secret,
        grant_types: ['authorization_code'],
        redirect_uris: [callback],
        scopes: ['openid'],
      },
      ...algorithms.map((alg) => ({
        id: `web-${alg}`,
        kind: 'web',
        party: 'first',
        secret,
        grant_types: ['authorization_code'],
        redirect_uris: [callback],
        scopes: ['openid'],
        id_token_signed_response_alg: alg,
      })),
    ],
  }),
});

const jwksURI = `${server.issuer}/.well-known/jwks.json`;
const published = () => jose.createRemoteJWKSet(new URL(jwksURI));
const { token, introspect, code, raw } = wire(server.issuer);
const by = (id) => basic(id, secret);

async function accessToken(parameters) {
  const answer = await token({ grant_type: 'client_credentials', ...parameters }, by('worker'));
  assert.ok(answer.access_token, JSON.stringify(answer));
  return answer.access_token;
}

const verify = (token, alg, keys = published()) =>
  jose.jwtVerify(token, keys, {
    issuer: server.issuer,
    audience: audience(alg),
    typ: 'at+jwt',
    algorithms: [alg],
    requiredClaims: ['iss', 'exp', 'aud', 'sub', 'client_id', 'iat', 'jti'],
  });

test('an API that has fetched the keys once verifies the tokens of every algorithm', async () => {
  const keys = published();
  for (const alg of algorithms) await verify(await accessToken({ resource: audience(alg), scope: 'things:read' }), alg, keys);
});

for (const alg of algorithms) {
  test(`RFC 9068 §4: an access token for an API with ${alg}`, async () => {
    const token = await accessToken({ resource: audience(alg), scope: 'things:read' });
    const { payload, protectedHeader } = await verify(token, alg);
    assert.deepEqual([payload.sub, payload.client_id, payload.scope, protectedHeader.typ], ['worker', 'worker', 'things:read', 'at+jwt']);
    assert.ok(payload.exp - payload.iat <= 600);
    const other = algorithms.find((name) => name !== alg);
    await assert.rejects(jose.jwtVerify(token, published(), { audience: audience(other) }), { code: 'ERR_JWT_CLAIM_VALIDATION_FAILED' });
    await assert.rejects(
      jose.jwtVerify(token, jose.createRemoteJWKSet(new URL(`${server.staging}/.well-known/jwks.json`))),
      { code: 'ERR_JWKS_NO_MATCHING_KEY' },
      'the keys of another tenant',
    );
  });
}

for (const [id, alg] of [['web-default', 'RS256'], ...algorithms.map((name) => [`web-${name}`, name])]) {
  test(`OpenID Connect Core §2: an ID token for ${id}`, async () => {
    const { redeem } = await code(id, { scope: 'openid', nonce: 'n-1' });
    const answer = await token(redeem, by(id));
    const { payload, protectedHeader } = await jose.jwtVerify(answer.id_token, published(), {
      issuer: server.issuer,
      audience: id,
      algorithms: [alg],
      requiredClaims: ['exp', 'iat', 'sub'],
    });
    assert.deepEqual([payload.sub, payload.nonce], ['alice', 'n-1']);
    assert.notEqual(protectedHeader.typ, 'at+jwt');
  });
}

test('RFC 7517 §4, §5: public keys only, each with its own kid and algorithm', async () => {
  const { keys } = await fetch(jwksURI).then((r) => r.json());
  assert.deepEqual(new Set(keys.map((key) => key.alg)), new Set(algorithms));
  assert.equal(new Set(keys.map((key) => key.kid)).size, keys.length);
  for (const key of keys) {
    assert.equal(key.use, 'sig');
    assert.deepEqual(
      Object.keys(key).filter((name) => ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k', 'oth'].includes(name)),
      [],
    );
  }
});

test('OpenID Connect Core §10.1.1: keys are rotated while tokens are in use', async () => {
  const before = await accessToken({ resource: audience('ES256'), scope: 'things:read' });
  const manage = bearer(await accessToken({ resource: server.issuer, scope: 'manage' }));
  const rotated = await raw('POST', '/v1/keys/rotate', { ...manage, ...json }, '{"now": true}');
  assert.equal(rotated.status, 200, rotated.text);
  const after = await accessToken({ resource: audience('ES256'), scope: 'things:read' });
  assert.notEqual(jose.decodeProtectedHeader(after).kid, jose.decodeProtectedHeader(before).kid);
  for (const token of [before, after]) await verify(token, 'ES256');
  assert.equal((await introspect(before, by('worker'))).active, true);
});

test('RFC 8725 §3.1: Mandate takes the algorithm from its key, and the key from nowhere else', async () => {
  const good = await accessToken({ resource: server.issuer, scope: 'decide' });
  const [header, claims] = [jose.decodeProtectedHeader(good), jose.decodeJwt(good)];
  const { keys } = await fetch(jwksURI).then((r) => r.json());
  const own = await jose.generateKeyPair('ES256', { extractable: true });
  const ownJWK = await jose.exportJWK(own.publicKey);
  const signed = (more, key = own.privateKey) =>
    new jose.SignJWT(claims).setProtectedHeader({ ...header, ...more }).sign(key, { crit: { critical: true } });
  const hmac = (text) => signed({ alg: 'HS256' }, new TextEncoder().encode(text));
  const es256 = keys.find((key) => key.kid === header.kid);
  const pem = await jose.exportSPKI(await jose.importJWK(es256, 'ES256'));
  const [, body, signature] = good.split('.');
  const encode = (value) => jose.base64url.encode(JSON.stringify(value));
  assert.equal((await ask(good)).status, 200);
  for (const [name, token] of [
    ['none', `${encode({ ...header, alg: 'none' })}.${body}.`],
    ['None with the signature', `${encode({ ...header, alg: 'None' })}.${body}.${signature}`],
    ['HS256 with the public key as PEM', await hmac(pem)],
    ['HS256 with the public key as JWK', await hmac(JSON.stringify(es256))],
    ['jwk', await signed({ jwk: ownJWK })],
    ['jku', await signed({ jku: 'https://evil.example/jwks.json' })],
    ['x5u', await signed({ x5u: 'https://evil.example/x.pem' })],
    ['the right kid, another key', await signed({})],
    ['no kid', await signed({ kid: undefined })],
    ['a kid that leads elsewhere', await signed({ kid: '../../clients/worker' })],
    ['a kid of another algorithm', await signed({ kid: keys.find((key) => key.alg === 'RS256').kid })],
    ['crit', await signed({ crit: ['critical'], critical: true })],
    ['another type', `${encode({ ...header, typ: 'JWT' })}.${body}.${signature}`],
    ['changed claims', `${good.split('.')[0]}.${encode({ ...claims, scope: 'decide manage' })}.${signature}`],
    ['no signature', `${good.split('.')[0]}.${body}`],
  ]) {
    const response = await ask(token);
    assert.equal(response.status, 401, name);
    assert.match(response.headers['www-authenticate'], /^Bearer .*error="invalid_token"/, name);
  }
});

const question = JSON.stringify({
  subject: { type: 'user', id: 'alice' },
  action: { name: 'documents:read' },
  resource: { type: 'document', id: 'plan' },
});
const ask = (value) => raw('POST', '/access/v1/evaluation', { ...bearer(value), ...json }, question);
