// An OpenID provider for tests: the certified `oidc-provider`, with its own pages for login, consent and logout. Any name and
// password are accepted; the name becomes the subject.
//
// Argument: {"port":3000,"clients":[…],"names":{"<subject>":"<display name>"}}. Prints "listening" once it is ready.

import { Provider } from "oidc-provider";

const { port, clients, names } = JSON.parse(process.argv[1]);
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients,
  claims: { openid: ["sub"], profile: ["name", "preferred_username"] },
  findAccount: async (_context, subject) => ({
    accountId: subject,
    claims: async () => ({ sub: subject, name: names[subject], preferred_username: subject }),
  }),
  cookies: { keys: ["a key for tests"] },
});
// Its pages load a font from the internet, for which a browser without a network would wait.
provider.use(async (context, next) => {
  await next();
  if (typeof context.body === "string") context.body = context.body.replace(/@import url\([^)]*\);/g, "");
});
provider.listen(port, "127.0.0.1", () => console.log("listening"));
