// npm oidc-provider with its store in memory, which gives its clients JWTs for one API. To be called with the folder that has
// node_modules, and a file that says who the clients are and what they may ask for.
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

process.env.NODE_ENV = 'production';
const [folder, file] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(resolve(folder, 'node_modules/oidc-provider/lib/index.js')));
const { audience, scope, lifetime, clients } = JSON.parse(readFileSync(file, 'utf8'));
const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const address = `127.0.0.1:${server.address().port}`;
  const provider = new Provider(`http://${address}`, {
    jwks: { keys: [{ ...key, kid: 'es256', use: 'sig', alg: 'ES256' }] },
    cookies: { keys: ['no browser comes'] },
    clientDefaults: { grant_types: ['client_credentials'], redirect_uris: [], response_types: [], id_token_signed_response_alg: 'ES256',
      token_endpoint_auth_method: 'client_secret_basic' },
    clients: clients.map(({ id, secret }) => ({ client_id: id, client_secret: secret, scope })),
    scopes: [scope],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => {
          if (resource !== audience) throw new Error(`there is no API ${resource}`);
          return { audience, scope, accessTokenFormat: 'jwt', accessTokenTTL: lifetime, jwt: { sign: { alg: 'ES256' } } };
        },
      },
    },
  });
  server.on('request', provider.callback());
  console.error(`address=${address}`);
});
