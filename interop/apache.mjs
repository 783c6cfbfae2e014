// Apache with mod_auth_openidc, as Debian packages them, lets people in by Mandate: with PKCE, an RS256 ID
// token and userinfo.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Browser } from './browser.mjs';
import { directory, documents, people } from './directory.mjs';
import { freePort, listen, start } from './server.mjs';

const modules = '/usr/lib/apache2/modules';
const installed = existsSync(`${modules}/mod_auth_openidc.so`);
// Only on the desk of a developer may it be missing.
const skip = installed || process.env.CI ? false : 'install apache2 and libapache2-mod-auth-openidc';

test('OpenID Connect Core §3.1: people come to a protected page', { skip }, async () => {
  const origin = `http://127.0.0.1:${await freePort()}`;
  const secret = 'secret-of-intranet-3fd2a1';
  const server = await start({
    directory: directory({
      clients: [
        {
          id: 'intranet',
          name: 'Intranet',
          party: 'first',
          kind: 'web',
          secret,
          grant_types: ['authorization_code'],
          redirect_uris: [`${origin}/private/callback`],
          audiences: [documents],
          scopes: ['openid', 'profile', 'email'],
        },
      ],
    }),
  });
  await apache(origin, server.issuer, secret);

  const alice = new Browser(people.alice);
  const page = await alice.open(`${origin}/private/`);
  assert.equal(page.html, 'alice alice@acme.example of acme');
  assert.ok(alice.titles.some((title) => title.startsWith('Sign in')), alice.titles.join());
});

// apache stands before an application that knows people by its headers alone, until the end of the test file.
async function apache(origin, issuer, secret) {
  const app = await listen((request, response) => {
    const claim = (name) => request.headers[`oidc_claim_${name}`];
    response.end(`${claim('preferred_username')} ${claim('email')} of ${claim('org')}`);
  });
  const folder = await mkdtemp(join(tmpdir(), 'interop-apache-'));
  const load = ['mpm_event', 'authn_core', 'authz_core', 'authz_user', 'proxy', 'proxy_http', 'auth_openidc'];
  await writeFile(
    join(folder, 'apache.conf'),
    `${load.map((name) => `LoadModule ${name}_module ${modules}/mod_${name}.so`).join('\n')}
ServerName 127.0.0.1
${process.getuid() === 0 ? 'User www-data\nGroup www-data' : ''}
Listen ${new URL(origin).host}
PidFile ${folder}/pid
ErrorLog ${folder}/error.log
ProxyPass / ${app.origin}/
OIDCProviderMetadataURL ${issuer}/.well-known/openid-configuration
OIDCClientID intranet
OIDCClientSecret ${secret}
OIDCRedirectURI ${origin}/private/callback
OIDCCryptoPassphrase a-passphrase-of-this-test-${process.pid}
OIDCPKCEMethod S256
OIDCScope "openid profile email"
OIDCRemoteUserClaim preferred_username
OIDCSessionType client-cookie
<Location /private>
  AuthType openid-connect
  Require valid-user
  # Node's fetch calls itself a script, which would be answered with 401.
  OIDCUnAuthAction auth true
</Location>
`,
  );
  const server = spawn('/usr/sbin/apache2', ['-f', join(folder, 'apache.conf'), '-X'], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, APACHE_RUN_DIR: folder, APACHE_LOCK_DIR: folder },
  });
  const ended = new Promise((done) => server.once('exit', done));
  after(async () => {
    server.kill('SIGTERM');
    await ended;
    await rm(folder, { recursive: true, force: true });
  });
  const answers = () =>
    fetch(`${origin}/nothing`).then(
      () => true,
      () => false,
    );
  while (!(await answers())) {
    assert.equal(server.exitCode, null, 'Apache has ended');
    await Promise.race([ended, new Promise((done) => setTimeout(done, 50))]);
  }
}
