// What no client library sends to the authorization endpoint, the pages and userinfo: each row names the section that says how it is
// answered.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as jose from 'jose';
import { Browser, forms } from './browser.mjs';
import { callback, directory, documents, people } from './directory.mjs';
import { listen, start } from './server.mjs';
import { answered, basic, bearer, form, json, wire } from './wire.mjs';

const secret = 'secret-of-many-41d0ab';
const web = {
  kind: 'web',
  party: 'first',
  secret,
  grant_types: ['authorization_code', 'refresh_token'],
  redirect_uris: [callback],
  scopes: ['openid', 'offline_access'],
};
const server = await start({
  directory: directory({
    custom: { open_registration: true },
    clients: [
      { id: 'portal', ...web },
      { id: 'other', ...web },
      { id: 'service', secret, grant_types: ['client_credentials'], scopes: ['documents:read'], audiences: [documents] },
      {
        ...web,
        id: 'app',
        kind: 'native',
        secret: undefined,
        token_endpoint_auth_method: 'none',
        redirect_uris: [callback, 'http://127.0.0.1/callback'],
      },
    ],
  }),
});

const { post, token, authorizeURL, code, raw } = wire(server.issuer);
const by = (id, password = secret) => basic(id, password);

const redeem = ({ redeem: fields }) => token(fields, by('portal'));

test('RFC 6749 §4.1.2.1, RFC 9700 §4.1.3: nobody is sent to what is not registered', async () => {
  for (const [name, parameters] of [
    ['no client', { client_id: '' }],
    ['an unknown client', { client_id: 'nobody' }],
    ['a client of the other tenant', { client_id: 'staging' }],
    ...[
      `${callback}/`,
      `${callback}?x=1`,
      `${callback}#x`,
      callback.toUpperCase(),
      'https://APP.example/callback',
      'https://app.example:443/callback',
      'https://app.example/./callback',
      'https://app.example/callback/../callback',
      'https://app.example/%63allback',
      'https://user@app.example/callback',
      'https://app.example@evil.example/callback',
      'http://app.example/callback',
      'https://app.example.evil.example/callback',
      '//app.example/callback',
      'javascript:alert(1)',
      ' https://app.example/callback',
      'https://app.example/callback\u0000',
      '/callback',
      'http://localhost/callback',
    ].map((redirect_uri) => [`redirect_uri ${JSON.stringify(redirect_uri)}`, { redirect_uri }]),
    ...[
      'http://127.0.0.1:1/callback/',
      'http://127.0.0.1:x/callback',
      'http://127.0.0.1:99999/callback',
      'http://127.0.0.2:1/callback',
      'http://[::1]:1/callback',
      'http://localhost:1/callback',
      'https://127.0.0.1:1/callback',
      'http://user@127.0.0.1:1/callback',
      'http://127.0.0.1:1@evil.example/callback',
    ].map((redirect_uri) => [`native: ${redirect_uri}`, { client_id: 'app', redirect_uri }]),
  ]) {
    const response = await fetch(authorizeURL({ client_id: 'portal', ...parameters }), { redirect: 'manual' });
    assert.deepEqual([response.status, response.headers.get('location')], [400, null], name);
    assert.match(response.headers.get('content-type'), /^text\/html/, name);
  }
  const twice = await fetch(`${authorizeURL({ client_id: 'portal' })}&redirect_uri=https%3A%2F%2Fevil.example`, { redirect: 'manual' });
  assert.deepEqual([twice.status, twice.headers.get('location')], [400, null]);
});

test('RFC 6749 §4.1.2: the state comes back byte for byte', async () => {
  for (const state of ['x'.repeat(2000), 'a b+c%20d&e=f"g\'h<i>', '100%', 'ümlaut 漢字']) {
    assert.equal((await code('portal', { state })).state, state);
  }
});

test('OpenID Connect Core §3.1.2.1: the authorization request by POST', async () => {
  const body = authorizeURL({ client_id: 'portal', state: 'posted', prompt: 'none' }).searchParams;
  const response = await fetch(`${server.issuer}/authorize`, { method: 'POST', body, redirect: 'manual' });
  assert.equal(response.status, 303);
  const back = await new Browser({}).open(new URL(response.headers.get('location'), server.issuer), callback);
  assert.deepEqual([back.searchParams.get('error'), back.searchParams.get('state')], ['login_required', 'posted']);
});

test('RFC 9700 §2.6, §4.2.4, §4.7.1, §4.12, §4.16: the pages', async () => {
  const url = authorizeURL({ client_id: 'portal' });
  const response = await fetch(url, { headers: { origin: 'https://evil.example' }, redirect: 'manual' });
  const html = await response.text();
  const header = (name) => response.headers.get(name) ?? '';
  assert.equal(response.status, 200);
  assert.match(header('content-security-policy'), /frame-ancestors 'none'/);
  assert.match(header('content-security-policy'), /default-src 'none'/);
  assert.equal(header('x-frame-options'), 'DENY');
  assert.equal(header('referrer-policy'), 'no-referrer');
  assert.match(header('cache-control'), /no-store/);
  assert.equal(header('access-control-allow-origin'), '', '§2.6');
  assert.doesNotMatch(html, /<script|javascript:|\son\w+=/i);
  for (const cookie of response.headers.getSetCookie()) assert.match(cookie, /(?=.*HttpOnly)(?=.*SameSite=(Lax|Strict))/i);

  const [{ action, fields }] = forms(html);
  const login = new URL(action, url);
  const body = new URLSearchParams({ ...people.alice, continue: fields.find(({ name }) => name === 'continue').value });
  const cookie = response.headers
    .getSetCookie()
    .map((c) => c.split(';')[0])
    .join('; ');
  const send = (form_, headers) => fetch(login, { method: 'POST', body: form_, headers, redirect: 'manual' });
  for (const [name, form_, headers] of [
    ['§4.7.1 without the hidden field', new URLSearchParams(people.alice), { cookie }],
    ['§4.7.1 in another browser', body, {}],
    ['§4.7.1 from a page of another site', body, { cookie, 'sec-fetch-site': 'cross-site' }],
    ['§4.7.1 another origin', body, { cookie, origin: 'https://evil.example' }],
  ])
    assert.equal((await send(form_, headers)).status, 403, name);
  const signedIn = await send(body, { cookie });
  assert.ok([302, 303].includes(signedIn.status), '§4.12: not 307');
  assert.ok(new URL(signedIn.headers.get('location'), url).href.startsWith(server.issuer), '§4.11');
});

test('what people and applications send is never markup', async () => {
  const hostile = `"'><script>alert(1)</script>`;
  const registered = await post(
    '/oauth2/register',
    JSON.stringify({ client_name: hostile, redirect_uris: [callback], token_endpoint_auth_method: 'none', scope: 'openid' }),
    json,
  );
  const visits = [
    ['the name of a client', people.alice, authorizeURL({ client_id: registered.client_id }), /asks for access/],
    ['a username', { username: hostile, password: hostile }, authorizeURL({ client_id: 'portal' }), /Sign in/],
    ['a user code', { ...people.alice, user_code: hostile }, `${server.issuer}/device`, /Connect a device/],
    ['a client id', {}, authorizeURL({ client_id: hostile }), /did not work/],
    ['a redirect URI', {}, authorizeURL({ client_id: 'portal', redirect_uri: hostile }), /did not work/],
  ];
  for (const [name, answers, url, title] of visits) {
    const browser = new Browser(answers);
    await browser.open(url, callback);
    assert.ok(
      browser.titles.some((seen) => title.test(seen)),
      `${name}: ${browser.titles}`,
    );
    for (const html of browser.html) assert.doesNotMatch(html, /<script/i, name);
  }
});

test('RFC 9700 §4.11: no page leads to a URL that came along', async () => {
  for (const path of [
    '/login?next=https://evil.example',
    '/login?continue=https://evil.example',
    '/logout?post_logout_redirect_uri=https://evil.example',
    '/logout?next=//evil.example',
    '/account?next=//evil.example',
    '//evil.example/..',
    '/login/..//evil.example',
  ]) {
    const response = await fetch(server.issuer + path, { redirect: 'manual' });
    assert.doesNotMatch(
      `${response.headers.get('location')} ${await response.text()}`,
      /(href|action|url|Location)[=: "]*(https:)?\/\/evil/i,
      path,
    );
    assert.ok(!response.headers.get('location')?.includes('evil'), path);
  }
});

test('RFC 9700 §4.13, §2.6: headers of a proxy that is not there', async () => {
  for (const headers of [
    { host: 'evil.example' },
    { 'x-forwarded-host': 'evil.example' },
    { forwarded: 'host=evil.example;proto=https' },
    { 'x-forwarded-proto': 'https' },
  ]) {
    for (const path of [
      '/.well-known/openid-configuration',
      '/.well-known/oauth-authorization-server/t/staging',
      '/.well-known/oauth-protected-resource',
    ]) {
      const { text } = await raw('GET', path, headers);
      assert.doesNotMatch(text, /evil/);
      assert.ok([server.issuer, server.staging].includes(JSON.parse(text).issuer ?? JSON.parse(text).resource), text);
    }
  }
  for (const headers of [
    { 'x-forwarded-user': 'alice' },
    { 'x-remote-user': 'alice' },
    { 'x-forwarded-client-cert': 'Subject="CN=alice"' },
    { 'x-ssl-client-verify': 'SUCCESS', 'x-ssl-client-s-dn': 'CN=service' },
  ]) {
    assert.equal((await raw('GET', '/userinfo', headers)).status, 401);
    assert.equal(
      (
        await raw(
          'POST',
          '/oauth2/token',
          { ...headers, 'content-type': 'application/x-www-form-urlencoded' },
          'grant_type=client_credentials&client_id=service',
        )
      ).status,
      401,
    );
  }
});

test('RFC 6750: bearer tokens at userinfo', async () => {
  const user = await redeem(await code('portal'));
  const other = await redeem(await code('portal'));
  const machine = await token({ grant_type: 'client_credentials' }, by('service'));
  for (const [name, method, path, headers, status, challenge] of [
    ['§2.1', 'GET', '/userinfo', bearer(user.access_token), 200],
    ['Core §5.3.1 POST', 'POST', '/userinfo', bearer(user.access_token), 200],
    ['RFC 9110 §11.1 case of the scheme', 'GET', '/userinfo', { authorization: `bEARER ${user.access_token}` }, 200],
    ['§3.1 no token: no error code', 'GET', '/userinfo', {}, 401, /^Bearer (?!.*error=)/],
    ['§3.1 not a token', 'GET', '/userinfo', bearer('garbage'), 401, /error="invalid_token"/],
    ['§3.1 changed', 'GET', '/userinfo', bearer(`${user.access_token.slice(0, -6)}AAAAAA`), 401, /error="invalid_token"/],
    ['RFC 9068 §4 an ID token', 'GET', '/userinfo', bearer(user.id_token), 401, /error="invalid_token"/],
    [
      '§3.1 without the scope openid',
      'GET',
      '/userinfo',
      bearer(machine.access_token),
      403,
      /(?=.*error="insufficient_scope")(?=.*scope="openid")/,
    ],
    ['§2.3 in the query', 'GET', `/userinfo?access_token=${user.access_token}`, {}, 400],
    ['§2 in two places', 'GET', `/userinfo?access_token=${user.access_token}`, bearer(user.access_token), 400],
    [
      '§2 two headers',
      'GET',
      '/userinfo',
      ['Authorization', `Bearer ${user.access_token}`, 'Authorization', `Bearer ${other.access_token}`],
      400,
    ],
    ['a token of another tenant', 'GET', '/t/staging/userinfo', bearer(user.access_token), 401, /error="invalid_token"/],
  ]) {
    const response = await raw(method, path, headers);
    assert.equal(response.status, status, `${name}: ${response.text}`);
    if (challenge) assert.match(response.headers['www-authenticate'], challenge, name);
    if (status === 200) assert.equal(JSON.parse(response.text).sub, 'alice');
    assert.match(response.headers['cache-control'] ?? '', /no-store/, `§5.3: ${name}`);
  }
});

test('OpenID Connect Core §3.1.2.6: nothing is fetched because a request says so', async () => {
  let fetched = 0;
  const { origin } = await listen((_, response) => {
    fetched++;
    response.end('{}');
  });
  for (const [name, value] of [
    ['request_uri', `${origin}/request`],
    ['jwks_uri', `${origin}/keys`],
    ['client_id', `${origin}/client`],
    ['logo_uri', `${origin}/logo`],
    ['request', `e30.${btoa(JSON.stringify({ iss: origin }))}.x`],
  ]) {
    await fetch(authorizeURL({ client_id: 'portal', [name]: value }), { redirect: 'manual' });
  }
  for (const header of [{ jku: `${origin}/keys` }, { x5u: `${origin}/keys` }]) {
    const forged = await new jose.SignJWT({ iss: origin, sub: 'x', aud: server.issuer })
      .setProtectedHeader({ alg: 'ES256', kid: 'x', typ: 'at+jwt', ...header })
      .setExpirationTime('5m')
      .sign((await jose.generateKeyPair('ES256')).privateKey);
    await raw('GET', '/userinfo', bearer(forged));
    await token({ grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion: forged });
  }
  assert.equal(fetched, 0);
});

test('RFC 9126: pushed authorization requests', async () => {
  const { client_id, ...request } = Object.fromEntries(authorizeURL({ client_id: 'portal' }).searchParams);
  const pushed = await post('/oauth2/par', request, by(client_id));
  assert.equal(pushed.status, 201);
  assert.match(pushed.request_uri, /^urn:ietf:params:oauth:request_uri:/);
  assert.ok(pushed.expires_in > 0);
  for (const [name, fields, headers, expected] of [
    ['§2.1 request_uri', { ...request, request_uri: pushed.request_uri }, by('portal'), [400, 'invalid_request']],
    ['§2.1 a wrong secret', request, by('portal', 'wrong'), [401, 'invalid_client']],
    ['§2.1 another redirect URI', { ...request, redirect_uri: 'https://evil.example' }, by('portal'), [400, 'invalid_request']],
    ['§2.1 no challenge', { ...request, code_challenge: '' }, by('portal'), [400, 'invalid_request']],
  ])
    assert.deepEqual(answered(await post('/oauth2/par', fields, headers)), expected, name);
  const open = (id, request_uri = pushed.request_uri, browser = new Browser(people.alice)) =>
    browser.open(`${server.issuer}/authorize?${form({ client_id: id, request_uri })}`, callback);
  assert.equal((await open('other')).status, 400, '§2.2 bound to the client');
  assert.equal((await open('portal', `${pushed.request_uri}x`)).status, 400);
  const browser = new Browser(people.alice);
  assert.ok((await open('portal', pushed.request_uri, browser)).searchParams.get('code'));
  const again = await open('portal', pushed.request_uri, browser);
  assert.ok(again.status === 400 || again.searchParams.get('error') === 'invalid_request', '§4 used once');
});
