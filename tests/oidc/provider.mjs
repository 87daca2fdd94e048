// A real OpenID Connect provider that gives JWT access tokens to machines (client credentials).
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';

import { Provider } from 'oidc-provider';

const signing = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });
const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const client = (id) => ({
    client_id: id,
    client_secret: 'secret-of-a-test-secret-of-a-test',
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
  });
  const provider = new Provider(issuer, {
    clients: [client('radiology'), client('cardiology')],
    jwks: { keys: [{ ...signing, use: 'sig', alg: 'RS256', kid: 'first' }] },
    scopes: ['cacscore:read', 'cacscore:write'],
    extraTokenClaims: (_context, token) => ({ tenant: token.clientId }),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context, resource) => ({
          scope: 'cacscore:read cacscore:write',
          audience: resource.split(':').pop(),
          accessTokenTTL: resource.includes('short') ? 1 : 300,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
