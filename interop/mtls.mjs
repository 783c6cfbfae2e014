// RFC 8705: clients that authenticate by their certificates, and tokens that only the holder of one can use.
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { request as httpsRequest } from 'node:https';
import { test } from 'node:test';
import * as jose from 'jose';
import * as client from 'openid-client';
import { directory } from './directory.mjs';
import { certificate, remember, start } from './server.mjs';

const [own, stranger] = [await certificate('client'), await certificate('stranger')];
const certified = new X509Certificate(own.cert);
const x5c = [certified.raw.toString('base64')];
const machine = { grant_types: ['client_credentials'], scopes: ['decide'] };
const server = await start({
  secure: true,
  directory: directory({
    clients: [
      {
        id: 'by-ca',
        ...machine,
        token_endpoint_auth_method: 'tls_client_auth',
        tls_client_auth_subject_dn: certified.subject.split('\n').reverse().join(','),
      },
      {
        id: 'by-itself',
        ...machine,
        token_endpoint_auth_method: 'self_signed_tls_client_auth',
        jwks: { keys: [{ ...certified.publicKey.export({ format: 'jwk' }), x5c }] },
      },
    ],
  }),
});

// fetchWith is fetch over a connection with the client's certificate, which the global one cannot have.
const fetchWith =
  (identity) =>
  (url, { method, headers, body }) =>
    new Promise((done, failed) => {
      const request = httpsRequest(url, { method, headers: Object.fromEntries(new Headers(headers)), ...identity }, async (response) => {
        const text = (await response.toArray()).join('');
        remember(/"access_token":"([^"]*)"/.exec(text)?.[1]);
        done(
          new Response(text, {
            status: response.statusCode,
            headers: Object.entries(response.headers).map(([name, value]) => [name, String(value)]),
          }),
        );
      });
      request.once('error', failed).end(body?.toString());
    });

const discover = (id, identity) =>
  client.discovery(new URL(server.issuer), id, undefined, client.TlsClientAuth(), { [client.customFetch]: fetchWith(identity) });

const question = JSON.stringify({
  subject: { type: 'user', id: 'alice' },
  action: { name: 'documents:read' },
  resource: { type: 'document', id: 'plan', properties: { org: 'acme' } },
});
const ask = (identity, token) =>
  fetchWith(identity)(`${server.issuer}/access/v1/evaluation`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: question,
  });

for (const id of ['by-ca', 'by-itself']) {
  test(`${id}: authenticates by certificate, and its token is bound to that`, async () => {
    const config = await discover(id, own);
    assert.equal(config.serverMetadata().tls_client_certificate_bound_access_tokens, true);
    const { access_token } = await client.clientCredentialsGrant(config, { resource: server.issuer, scope: 'decide' });
    const hash = jose.base64url.encode(new Uint8Array(await crypto.subtle.digest('SHA-256', certified.raw)));
    assert.equal(jose.decodeJwt(access_token).cnf['x5t#S256'], hash, '§3.1');
    assert.equal((await ask(own, access_token).then((r) => r.json())).decision, true);
    for (const [name, identity] of [
      ['without a certificate', {}],
      ['with another', stranger],
    ]) {
      const refused = await ask(identity, access_token);
      assert.equal(refused.status, 401, `§3 ${name}`);
      assert.match(refused.headers.get('www-authenticate'), /error="invalid_token"/, `§3 ${name}`);
    }
  });

  test(`${id}: §2 nobody else is the client`, async () => {
    for (const [name, identity] of [
      ['no certificate', {}],
      ['another certificate', stranger],
    ]) {
      await assert.rejects(
        discover(id, identity).then((config) => client.clientCredentialsGrant(config, { scope: 'decide' })),
        (error) => error.status === 401 || error.error === 'invalid_client',
        name,
      );
    }
    const header = {
      'x-forwarded-client-cert': `Cert="${encodeURIComponent(own.cert)}"`,
      'client-cert': `:${x5c[0]}:`,
      'x-ssl-client-cert': encodeURIComponent(own.cert),
    };
    const spoofed = await fetchWith({})(`${server.issuer}/oauth2/token`, {
      method: 'POST',
      headers: { ...header, 'content-type': 'application/x-www-form-urlencoded' },
      body: `grant_type=client_credentials&client_id=${id}`,
    });
    assert.equal(spoofed.status, 401, 'RFC 9700 §4.13');
  });
}
