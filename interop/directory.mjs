// The directory that the tests begin with: a product called Documents, two organizations and their people.
export const documents = 'https://documents.example';
export const callback = 'https://app.example/callback';

export const people = {
  alice: { username: 'alice', password: 'correct horse battery of alice' },
  bob: { username: 'bob', password: 'correct horse battery of bob' },
};

// directory adds what a test needs to the common records, list by list.
export function directory(more = {}) {
  const common = {
    tenant: 'default',
    roles: {
      viewer: { permissions: ['documents:read'] },
      editor: { permissions: ['documents:read', 'documents:write'] },
      developer: { permissions: ['documents:read'] },
      admin: { permissions: ['*'] },
    },
    apis: [{ id: 'documents', audience: documents, scopes: ['documents:read', 'documents:write'] }],
    orgs: [
      {
        id: 'acme',
        name: 'Acme Industries',
        members: [
          { user: 'alice', roles: ['admin', 'developer'] },
          { user: 'bob', roles: ['viewer'] },
        ],
      },
      { id: 'globex', name: 'Globex Corporation', members: [{ user: 'bob', roles: ['editor'] }] },
    ],
    users: Object.entries(people).map(([id, { password }]) => ({ id, email: `${id}@acme.example`, password })),
    clients: [
      {
        id: 'gateway',
        name: 'Gateway of Documents',
        secret: 'secret-of-gateway-5b1f0c',
        grant_types: ['client_credentials'],
        scopes: ['decide'],
        audiences: [documents],
      },
    ],
  };
  const lists = Object.keys(more).filter((name) => Array.isArray(more[name]));
  return { ...common, ...more, ...Object.fromEntries(lists.map((name) => [name, [...(common[name] ?? []), ...more[name]]])) };
}
