// What no client library sends to the token endpoint and those beside it: each row names the section that says how it is answered.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as jose from 'jose';
import { callback, directory, documents, people } from './directory.mjs';
import { start } from './server.mjs';
import { answered, basic, bearer, defined, form, json, now, prover, sha256, wire } from './wire.mjs';

const secret = 'secret-of-many-41d0ab';
const oddSecret = 'a:secret+with%20 &=?/"';
const signer = await jose.generateKeyPair('ES256', { extractable: true });
const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';
const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token';
const web = {
  kind: 'web',
  party: 'first',
  grant_types: ['authorization_code', 'refresh_token'],
  redirect_uris: [callback],
  scopes: ['openid', 'offline_access', 'documents:read'],
  audiences: [documents],
};
const machine = { grant_types: ['client_credentials'], scopes: ['documents:read'], audiences: [documents] };
const server = await start({
  directory: directory({
    apis: [{ id: 'archive', audience: 'https://archive.example', scopes: ['archive:read'] }],
    clients: [
      ...['service', 'relay'].map((id) => ({
        id,
        secret,
        party: 'first',
        ...machine,
        grant_types: ['client_credentials', exchangeGrant],
        org: 'acme',
      })),
      { id: 'two', secret, ...machine, scopes: ['documents:read', 'archive:read'], audiences: [documents, 'https://archive.example'] },
      { id: 'basic', secret, ...machine, token_endpoint_auth_method: 'client_secret_basic' },
      { id: 'poster', secret, ...machine, token_endpoint_auth_method: 'client_secret_post' },
      { id: 'odd', secret: oddSecret, ...machine },
      {
        id: 'keyed',
        ...machine,
        token_endpoint_auth_method: 'private_key_jwt',
        jwks: { keys: [{ ...(await jose.exportJWK(signer.publicKey)), kid: 'k1', alg: 'ES256' }] },
      },
      { id: 'portal', secret, ...web },
      { id: 'other', secret, ...web },
      { id: 'app', ...web, kind: 'native', token_endpoint_auth_method: 'none', redirect_uris: [callback, 'http://127.0.0.1/callback'] },
    ],
  }),
});

const own = { grant_type: 'client_credentials' };
const { post, token, introspect, code, raw } = wire(server.issuer);
const by = (id, password = secret) => basic(id, password);

const redeem = ({ redeem: fields }, client = 'portal', more = {}, headers = {}) =>
  token(defined({ ...fields, ...more }), { ...by(client), ...headers });

// table runs the rows one after another: a name, what is sent, and the status and error expected.
function table(name, rows) {
  test(name, async (t) => {
    for (const [row, send, status, error] of rows) await t.test(row, async () => assert.deepEqual(answered(await send()), [status, error]));
  });
}

table('RFC 6749: token requests', [
  ['§4.4.2 the good one', () => token(own, by('service')), 200, undefined],
  ['§2.3.1 id and secret are form-encoded in Basic', () => token(own, by('odd', oddSecret)), 200, undefined],
  [
    'RFC 9110 §11.1 the scheme in capitals',
    () => token(own, { authorization: by('service').authorization.replace('Basic', 'BASIC') }),
    200,
    undefined,
  ],
  ['§3.2 unknown parameters are ignored', () => token({ ...own, foo: 'bar' }, by('service')), 200, undefined],
  ['§3.2 empty parameters are absent', () => token({ ...own, scope: '', resource: '', audience: '' }, by('service')), 200, undefined],
  ['§5.2 a wrong secret', () => token(own, by('service', 'wrong')), 401, 'invalid_client'],
  ['§5.2 an unknown client', () => token(own, by('nobody')), 401, 'invalid_client'],
  ['§5.2 no client', () => token(own), 401, 'invalid_client'],
  ['§5.2 a client that only names itself', () => token({ ...own, client_id: 'service' }), 401, 'invalid_client'],
  [
    '§2.3 a secret in two places',
    () => token({ ...own, client_id: 'service', client_secret: secret }, by('service')),
    400,
    'invalid_request',
  ],
  ['§2.3 two clients', () => token({ ...own, client_id: 'poster' }, by('service')), 400, 'invalid_request'],
  ['§2.3.1 a secret in the query', () => post(`/oauth2/token?client_id=poster&client_secret=${secret}`, own), 400, 'invalid_request'],
  ['OAuth 2.1 §2.4 Basic, registered for the body', () => token(own, by('poster')), 401, 'invalid_client'],
  [
    'OAuth 2.1 §2.4 the body, registered for Basic',
    () => token({ ...own, client_id: 'basic', client_secret: secret }),
    401,
    'invalid_client',
  ],
  ['RFC 7591 §2 a secret of a client with keys', () => token({ ...own, client_id: 'keyed', client_secret: secret }), 401, 'invalid_client'],
  ['§5.2 no grant type', () => token({}, by('service')), 400, 'invalid_request'],
  ['§5.2 an unknown grant type', () => token({ grant_type: 'magic' }, by('service')), 400, 'unsupported_grant_type'],
  ['RFC 9700 §2.4 a password', () => token({ grant_type: 'password', ...people.alice }, by('service')), 400, 'unsupported_grant_type'],
  ['§5.2 a grant that the client is not registered for', () => token(own, by('portal')), 400, 'unauthorized_client'],
  ['§4.4 a public client for itself', () => token({ ...own, client_id: 'app' }), 400, 'unauthorized_client'],
  ['§3.3 an unknown scope', () => token({ ...own, scope: 'documents:read nothing' }, by('service')), 400, 'invalid_scope'],
  ['§3.3 a scope that the client has not', () => token({ ...own, scope: 'documents:write' }, by('service')), 400, 'invalid_scope'],
  ['§3.3 a quote', () => token({ ...own, scope: 'a"b' }, by('service')), 400, 'invalid_scope'],
  ['§3.3 two spaces', () => token({ ...own, scope: 'documents:read  documents:read' }, by('service')), 400, 'invalid_scope'],
  ['§3.3 a control character', () => token({ ...own, scope: 'a\u0007b' }, by('service')), 400, 'invalid_scope'],
  ...[
    'grant_type=client_credentials',
    'scope=documents%3Aread',
    'audience=https%3A%2F%2Fdocuments.example',
    'client_id=service',
    'code=x',
    'redirect_uri=x',
    'org=acme',
    'code_verifier=x',
  ].map((parameter) => [
    `§3.2 twice: ${parameter.split('=')[0]}`,
    () => token(`${form(own)}&${parameter}&${parameter}`, by('service')),
    400,
    'invalid_request',
  ]),
  ['§3.2 JSON', () => token(JSON.stringify(own), { ...by('service'), ...json }), 400, 'invalid_request'],
  ['§3.2 multipart', () => token('--x--', { ...by('service'), 'content-type': 'multipart/form-data; boundary=x' }), 400, 'invalid_request'],
  ['§3.2 not form-encoded', () => token('grant_type=%zz', by('service')), 400, 'invalid_request'],
  [
    'RFC 8707 §2 several resources',
    () => token(`${form(own)}&resource=${encodeURIComponent(documents)}&resource=https%3A%2F%2Farchive.example`, by('two')),
    400,
    'invalid_target',
  ],
  ['RFC 8707 §2 a resource without a scheme', () => token({ ...own, resource: 'documents.example' }, by('two')), 400, 'invalid_target'],
  ['RFC 8707 §2 a fragment', () => token({ ...own, resource: `${documents}#x` }, by('two')), 400, 'invalid_target'],
  ['RFC 8707 §2 an unknown one', () => token({ ...own, resource: 'https://nowhere.example' }, by('two')), 400, 'invalid_target'],
  ['RFC 8707 §2 one of another client', () => token({ ...own, resource: 'https://archive.example' }, by('service')), 400, 'invalid_target'],
  ['RFC 8707 §2 exact, not nearly', () => token({ ...own, resource: `${documents}/` }, by('service')), 400, 'invalid_target'],
  [
    'RFC 8693 §2.1 no subject_token',
    () => token({ grant_type: exchangeGrant, subject_token_type: accessTokenType }, by('service')),
    400,
    'invalid_request',
  ],
  [
    'RFC 8693 §2.1 no subject_token_type',
    () => token({ grant_type: exchangeGrant, subject_token: 'x' }, by('service')),
    400,
    'invalid_request',
  ],
  [
    'RFC 8693 §2.2.2 garbage',
    () => token({ grant_type: exchangeGrant, subject_token: 'x', subject_token_type: accessTokenType }, by('service')),
    400,
    'invalid_request',
  ],
]);

test('RFC 6749 §3.2: the token endpoint takes POST only', async () => {
  for (const method of ['GET', 'PUT', 'DELETE', 'HEAD']) {
    const { status, headers } = await fetch(`${server.issuer}/oauth2/token?grant_type=client_credentials`, {
      method,
      headers: by('service'),
    });
    assert.ok([404, 405].includes(status), `${method}: ${status}`);
    assert.ok(status === 404 || headers.get('allow'), 'RFC 9110 §15.5.6');
  }
});

test('RFC 6749 §5.1, §5.2, §4.4.3: the shape of answers', async () => {
  const good = await token({ ...own, scope: 'documents:read' }, by('service'));
  assert.deepEqual([good.token_type, good.scope, good.refresh_token], ['Bearer', 'documents:read', undefined]);
  assert.ok(Number.isInteger(good.expires_in) && good.expires_in > 0);
  assert.notEqual((await token(own, by('service'))).access_token, good.access_token);
  const [wrong, unknown] = [await token(own, by('service', 'wrong')), await token(own, by('nobody', 'wrong'))];
  assert.match(wrong.headers.get('www-authenticate'), /^Basic /);
  assert.deepEqual([wrong.error, wrong.error_description], [unknown.error, unknown.error_description], 'nobody learns which clients exist');
  assert.equal(
    jose.decodeJwt((await token({ ...own, resource: 'https://archive.example' }, by('two'))).access_token).aud,
    'https://archive.example',
  );
});

test('RFC 6749 §4.1.3, RFC 7636 §4.6: a code is for one client, one redirect URI and one verifier', async () => {
  const good = await code('portal');
  for (const [name, client, more, error] of [
    ['RFC 6749 §4.1.3 another client', 'other', {}, 'invalid_grant'],
    ['RFC 6749 §4.1.3 another redirect URI', 'portal', { redirect_uri: `${callback}/` }, 'invalid_grant'],
    ['RFC 7636 §4.6 another verifier', 'portal', { code_verifier: 'x'.repeat(43) }, 'invalid_grant'],
    ['RFC 7636 §4.6 no verifier', 'portal', { code_verifier: undefined }, 'invalid_grant'],
    ['RFC 7636 §4.1 a short verifier', 'portal', { code_verifier: good.redeem.code_verifier.slice(0, 42) }, 'invalid_grant'],
    ['RFC 7636 §4.1 a long verifier', 'portal', { code_verifier: 'x'.repeat(129) }, 'invalid_grant'],
    ['RFC 6749 §4.1.2 no such code', 'portal', { code: `${good.redeem.code.slice(0, -4)}0000` }, 'invalid_grant'],
    ['RFC 6749 §4.1.3 no code', 'portal', { code: undefined }, 'invalid_request'],
  ]) {
    assert.deepEqual(answered(await redeem(good, client, more)), [400, error], name);
  }
  assert.equal((await redeem(good)).status, 200, 'none of them has spent the code');
});

test('RFC 6749 §4.1.2: a code is redeemed once, whoever comes at the same time', async () => {
  const good = await code('portal');
  const answers = await Promise.all([1, 2, 3, 4].map(() => redeem(good)));
  assert.ok(answers.filter(({ status }) => status === 200).length <= 1);
  const given = answers.find(({ status }) => status === 200);
  if (given)
    assert.equal(
      (await token({ grant_type: 'refresh_token', refresh_token: given.refresh_token }, by('portal'))).error,
      'invalid_grant',
      'the replay has ended it',
    );
});

test('RFC 9700 §4.14: refresh tokens', async () => {
  const refresh = (refresh_token, client = 'portal', more = {}) =>
    token({ grant_type: 'refresh_token', refresh_token, ...more }, by(client));
  const first = await redeem(await code('portal', { scope: 'openid offline_access documents:read', resource: documents }));
  assert.deepEqual(answered(await refresh(first.refresh_token, 'other')), [400, 'invalid_grant'], 'RFC 6749 §6 another client');
  assert.deepEqual(
    answered(await token({ grant_type: 'refresh_token', refresh_token: first.refresh_token, client_id: 'portal' })),
    [401, 'invalid_client'],
    'RFC 6749 §6 no authentication',
  );
  assert.deepEqual(
    answered(await refresh(first.refresh_token, 'portal', { scope: 'documents:write' })),
    [400, 'invalid_scope'],
    'RFC 6749 §6 wider',
  );
  assert.deepEqual(
    answered(await refresh(first.refresh_token, 'portal', { resource: 'https://archive.example' })),
    [400, 'invalid_target'],
    'RFC 8707 §2.2',
  );
  const narrow = await refresh(first.refresh_token, 'portal', { scope: 'documents:read' });
  assert.equal(narrow.scope, 'documents:read');
  assert.equal(jose.decodeJwt(narrow.access_token).aud, documents, 'RFC 8707 §2.1');
  const full = await refresh(narrow.refresh_token);
  assert.deepEqual(new Set(full.scope.split(' ')), new Set(first.scope.split(' ')), 'RFC 6749 §6: narrowing does not last');
  const answers = await Promise.all([1, 2, 3, 4, 5].map(() => refresh(full.refresh_token)));
  const successors = new Set(answers.filter(({ status }) => status === 200).map((answer) => answer.refresh_token));
  assert.equal(successors.size, 1, 'never a second chain');
  const [successor] = successors;
  const next = await refresh(successor);
  assert.equal(next.status, 200);
  assert.equal((await refresh(first.refresh_token)).error, 'invalid_grant', '§4.14.2 reuse');
  assert.equal((await refresh(next.refresh_token)).error, 'invalid_grant', '§4.14.2 ends the family');
});

test('RFC 7662: introspection', async () => {
  const gateway = basic('gateway', 'secret-of-gateway-5b1f0c');
  const active = await token(own, by('service'));
  const user = await redeem(await code('portal'));
  const staging = `${active.access_token.split('.').slice(0, 2).join('.')}.${'A'.repeat(86)}`;
  for (const [name, value] of [
    ['unknown', 'garbage'],
    ['not signed here', staging],
    ['an ID token', user.id_token],
    ['a code', (await code('portal')).redeem.code],
    ['a very long one', 'x'.repeat(10_000)],
  ]) {
    assert.deepEqual(await introspect(value, gateway), { active: false }, `§2.2 ${name}`);
  }
  assert.equal(
    (await post('/oauth2/introspect', { token: active.access_token, token_type_hint: 'refresh_token' }, gateway)).active,
    true,
    '§2.1 a wrong hint',
  );
  const archive = await token({ ...own, resource: 'https://archive.example' }, by('two'));
  assert.deepEqual(await introspect(archive.access_token, by('service')), { active: false }, '§4 a token for another API');
  for (const [name, headers_, fields, expected] of [
    ['§2.1 no caller', {}, {}, [401, 'invalid_client']],
    ['§2.1 a wrong secret', basic('gateway', 'wrong'), {}, [401, 'invalid_client']],
    ['§4 a public client', {}, { client_id: 'app' }, [401, 'invalid_client']],
    ['§2.1 no token', gateway, { token: '' }, [400, 'invalid_request']],
  ])
    assert.deepEqual(answered(await post('/oauth2/introspect', { token: active.access_token, ...fields }, headers_)), expected, name);
  const refused = await post('/oauth2/introspect', { token: active.access_token }, bearer('garbage'));
  assert.equal(refused.status, 401);
  assert.match(
    refused.headers.get('www-authenticate'),
    /Bearer .*error="invalid_token"/,
    '§2.3: as RFC 6750 §3 when the caller has a bearer token',
  );
  assert.ok(
    [404, 405].includes((await fetch(`${server.issuer}/oauth2/introspect?token=x`, { headers: gateway })).status),
    '§2.1 POST only',
  );
});

test('RFC 7009: revocation', async () => {
  const gateway = basic('gateway', 'secret-of-gateway-5b1f0c');
  const active = async (value) => (await introspect(value, gateway)).active;
  const { access_token } = await token(own, by('service'));
  // Another client changes nothing, and is not told whether there is such a token.
  assert.equal((await post('/oauth2/revoke', { token: access_token }, by('two'))).status, 200, '§2.1 another client');
  assert.deepEqual(answered(await post('/oauth2/revoke', { token: access_token }, by('service', 'wrong'))), [401, 'invalid_client']);
  assert.equal(await active(access_token), true);
  assert.deepEqual(answered(await post('/oauth2/revoke', {}, by('service'))), [400, 'invalid_request'], '§2.1 no token');
  for (const value of [access_token, access_token, 'garbage']) {
    assert.equal((await post('/oauth2/revoke', { token: value, token_type_hint: 'refresh_token' }, by('service'))).status, 200, '§2.2');
  }
  assert.equal(await active(access_token), false);
});

test('RFC 8693: what is no subject token, and chains', async () => {
  const exchange = (subject_token, client = 'service', more = {}) =>
    token({ grant_type: exchangeGrant, subject_token, subject_token_type: accessTokenType, resource: documents, ...more }, by(client));
  const user = await redeem(await code('portal', { scope: 'openid offline_access documents:read', resource: documents }));
  const service = await token(own, by('service'));
  for (const [name, answer, error] of [
    ['§3 a refresh token', await exchange(user.refresh_token), 'invalid_request'],
    ['§3 an ID token', await exchange(user.id_token), 'invalid_request'],
    [
      '§2.1 a refresh token is asked for',
      await exchange(user.access_token, 'service', { requested_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' }),
      'invalid_request',
    ],
    [
      '§2.1 an actor that is somebody else',
      await exchange(user.access_token, 'service', { actor_token: user.access_token, actor_token_type: accessTokenType }),
      'invalid_request',
    ],
    ['§2.1 without the grant', await exchange(user.access_token, 'two'), 'unauthorized_client'],
    [
      '§5 a public client',
      await token({ grant_type: exchangeGrant, subject_token: user.access_token, subject_token_type: accessTokenType, client_id: 'app' }),
      'unauthorized_client',
    ],
  ])
    assert.deepEqual(answered(answer), [400, error], name);
  const actors = ({ act }) => (act ? [act.sub, ...actors(act)] : []);
  const first = await exchange(user.access_token);
  const second = await exchange(first.access_token, 'relay', {
    actor_token: (await token(own, by('relay'))).access_token,
    actor_token_type: accessTokenType,
  });
  assert.deepEqual(
    [actors(jose.decodeJwt(first.access_token)), actors(jose.decodeJwt(second.access_token))],
    [
      ['service', 'portal'],
      ['relay', 'service', 'portal'],
    ],
    '§4.1 the first client is in the chain as well',
  );
  assert.ok(jose.decodeJwt(second.access_token).exp <= jose.decodeJwt(user.access_token).exp);
  assert.equal((await post('/oauth2/revoke', { token: user.refresh_token }, by('portal'))).status, 200);
  for (const value of [user, first, second])
    assert.deepEqual(answered(await exchange(value.access_token)), [400, 'invalid_request'], 'what it rests on has been revoked');
  assert.equal((await post('/oauth2/revoke', { token: service.access_token }, by('service'))).status, 200);
  assert.deepEqual(answered(await exchange(service.access_token)), [400, 'invalid_request'], 'a revoked token');
});

test('RFC 7523 §3: assertions of clients', async () => {
  const good = { iss: 'keyed', sub: 'keyed', aud: server.issuer, exp: now() + 60, iat: now() };
  const assertion = (claims = {}, header = {}, key = signer.privateKey) =>
    new jose.SignJWT(defined({ ...good, jti: crypto.randomUUID(), ...claims }))
      .setProtectedHeader({ alg: 'ES256', kid: 'k1', ...header })
      .sign(key);
  const type = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
  const send = async (client_assertion, more = {}, headers = {}) =>
    token({ ...own, client_assertion_type: type, client_assertion, ...more }, headers);
  const public_ = JSON.stringify(await jose.exportJWK(signer.publicKey));
  for (const [name, given, more, headers] of [
    ['§3 no iss', await assertion({ iss: undefined })],
    ['§3 no sub', await assertion({ sub: undefined })],
    ['§3 no aud', await assertion({ aud: undefined })],
    ['§3 no exp', await assertion({ exp: undefined })],
    ['§3 another sub', await assertion({ sub: 'service' })],
    ['§3 another iss', await assertion({ iss: 'service' })],
    ['§3 another aud', await assertion({ aud: 'https://evil.example' })],
    ['§3 the other tenant', await assertion({ aud: server.staging })],
    ['§3 expired', await assertion({ exp: now() - 120 })],
    ['§3 not yet good', await assertion({ nbf: now() + 600 })],
    ['§3 ten years', await assertion({ exp: now() + 315_360_000 })],
    ['§3 another key', await assertion({}, {}, (await jose.generateKeyPair('ES256')).privateKey)],
    ['RFC 8725 §3.1 HS256', await assertion({}, { alg: 'HS256' }, new TextEncoder().encode(public_.padEnd(32)))],
    ['not a JWT', 'garbage'],
    ['RFC 7521 §4.2 client_id', await assertion(), { client_id: 'service' }],
    [
      'RFC 7521 §4.2 another type',
      await assertion(),
      { client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:saml2-bearer' },
    ],
    ['RFC 6749 §2.3 and a secret', await assertion(), {}, by('service')],
  ]) {
    const answer = await send(given, more, headers);
    assert.ok(
      (answer.status === 401 && answer.error === 'invalid_client') || (answer.status === 400 && answer.error === 'invalid_request'),
      `${name}: ${answer.status} ${answer.error}`,
    );
  }
  const once = await assertion();
  assert.equal((await send(once)).status, 200);
  assert.deepEqual(answered(await send(once)), [401, 'invalid_client'], 'Core §9: used twice');
  assert.equal((await send(await assertion({ aud: `${server.issuer}/oauth2/token` }))).status, 200, '§3 the token endpoint as audience');
});

test('RFC 9449 §4.3: proofs that are no good', async () => {
  const { proof: prove, privateKey } = await prover();
  const url = `${server.issuer}/oauth2/token`;
  let nonce;
  const proof = (claims, header, key) => prove('POST', url, { nonce, ...claims }, header, key);
  const send = (dpop) => token(own, { ...by('service'), dpop });
  nonce = (await send(await proof())).headers.get('dpop-nonce');
  assert.ok(nonce);
  const used = await proof();
  assert.equal((await send(used)).token_type, 'DPoP');
  for (const [name, dpop] of [
    ['1: two proofs', [await proof(), await proof()].join(', ')],
    ['2: not a JWT', 'garbage'],
    ['3: no htm', await proof({ htm: undefined })],
    ['3: no htu', await proof({ htu: undefined })],
    ['3: no jti', await proof({ jti: undefined })],
    ['3: no iat', await proof({ iat: undefined })],
    ['4: typ', await proof({}, { typ: 'JWT' })],
    ['5: HS256', await proof({}, { alg: 'HS256' }, new TextEncoder().encode('x'.repeat(32)))],
    ['6: no jwk', await proof({}, { jwk: undefined })],
    ['6: another key', await proof({}, {}, (await jose.generateKeyPair('ES256')).privateKey)],
    ['7: a private key', await proof({}, { jwk: await jose.exportJWK(privateKey) })],
    ['8: htm', await proof({ htm: 'GET' })],
    ['9: htu', await proof({ htu: `${server.issuer}/oauth2/par` })],
    ['9: htu of another host', await proof({ htu: 'https://evil.example/oauth2/token' })],
    ['11: old', await proof({ iat: now() - 3600 })],
    ['11: of the future', await proof({ iat: now() + 3600 })],
    ['§11.1: used twice', used],
  ])
    assert.deepEqual(answered(await send(dpop)), [400, 'invalid_dpop_proof'], name);
  assert.equal((await send(await proof({ htu: `${url}?x=1#y` }))).status, 200, '9: query and fragment do not count');
});

test('RFC 9449 §7.1: proofs that are no good at a resource', async () => {
  const [{ proof }, stranger] = [await prover(), await prover()];
  const user = await code('portal');
  const at = (path) => server.issuer + path;
  const nonce = (await token(own, { ...by('service'), dpop: await proof('POST', at('/oauth2/token')) })).headers.get('dpop-nonce');
  const { access_token } = await redeem(user, 'portal', {}, { dpop: await proof('POST', at('/oauth2/token'), { nonce }) });
  const good = { nonce, ath: await sha256(access_token) };
  const send = (dpop, method = 'GET') => raw(method, '/userinfo', { authorization: `DPoP ${access_token}`, ...(dpop && { dpop }) });
  const introspected = await introspect(access_token, by('portal'));
  assert.deepEqual([introspected.token_type, introspected.cnf], ['DPoP', jose.decodeJwt(access_token).cnf], '§6.2');
  const used = await proof('GET', at('/userinfo'), good);
  assert.equal((await send(used)).status, 200);
  for (const [name, dpop] of [
    ['no proof', undefined],
    ['§4.3 no ath', await proof('GET', at('/userinfo'), { nonce })],
    ['§4.3 ath of another token', await proof('GET', at('/userinfo'), { nonce, ath: await sha256('another') })],
    ['§4.3 htm', await proof('POST', at('/userinfo'), good)],
    ['§4.3 htu', await proof('GET', at('/account'), good)],
    ['§4.3 another key', await stranger.proof('GET', at('/userinfo'), good)],
    ['§11.1 used twice', used],
  ]) {
    const { status, headers, text } = await send(dpop);
    assert.equal(status, 401, `${name}: ${text}`);
    assert.match(headers['www-authenticate'], /(^|, )DPoP .*error="invalid_(token|dpop_proof)"/, name);
  }
});
