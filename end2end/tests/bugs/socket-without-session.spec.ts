// The sign-in page asked for a socket that it could not have, again and again, and said that it was connecting.

import { connection, expect, fillIn, test } from "../../fixtures/stepcast";

test.use({ signedIn: false });

test("the sign-in page opens no socket and tells of no connection", async ({ page, stepcast }) => {
  const sockets: string[] = [];
  page.on("websocket", (socket) => sockets.push(socket.url()));
  await page.goto(stepcast.signInLink);
  await expect(page.getByRole("button", { name: "Sign in" })).toBeVisible();
  await expect(connection(page)).toHaveCount(0);
  await fillIn(page);
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(connection(page)).toHaveText(/^live/);
  expect(sockets).toHaveLength(1);
});
