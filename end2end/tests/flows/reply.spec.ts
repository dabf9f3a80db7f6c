// How the result of a build is told: to the browser that asked, to a webhook, and to a person who was away.

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import { Gate, pipeline } from "../../fixtures/gate";
import { expect, open, test } from "../../fixtures/stepcast";

// The receivers of these tests are in this machine, where webhooks do not go otherwise.
test.use({ serve: { arguments: ["--webhook-allow", "127.0.0.1"], environment: {} } });

test("the build page says that the browser that asked has the result, without a reload", async ({ page, api, stepcast }) => {
  const gate = new Gate(stepcast);
  await api.apply("hi", pipeline("hi", { work: gate.printUntilOpen }));
  await open(page, "/");
  await page.getByRole("button", { name: "Build hi" }).click();
  await expect(page).toHaveTitle("running · hi #1 · Stepcast");
  await expect(page.locator(".reply")).not.toContainText("received");
  await gate.open();
  await expect(page).toHaveTitle("succeeded · hi #1 · Stepcast");
  await expect(page.locator(".reply")).toContainText(/Result received by the browser that asked, .*\d\d:\d\d:\d\d/);
  // An open tab took it: nobody was away.
  await open(page, "/");
  await expect(page.getByRole("heading", { name: "Running now" })).toBeVisible();
  await expect(page.locator(".results")).toHaveCount(0);
});

test("a webhook that fails says so on the build page and is sent by hand", async ({ page, api }) => {
  let status = 500;
  const receiver = createServer((request, response) => {
    request.resume().on("end", () => response.writeHead(status).end());
  });
  await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  const host = `127.0.0.1:${(receiver.address() as AddressInfo).port}`;
  try {
    await api.apply("hi", pipeline("hi", { work: "echo hi" }));
    const reply = { mode: "webhook", url: `http://${host}/hook?token=secret` };
    const response = await api.request("POST", "/pipelines/hi/builds", { reply });
    const { id } = (await response.json()) as { id: string };
    await open(page, `/builds/${id}`);
    const line = page.locator(".reply");
    await expect(line).toContainText(new RegExp(`Webhook to ${host} failed (once|\\d+ times): it answered 500; tried again at`));
    await expect(page.locator("body")).not.toContainText("token=secret");
    status = 200;
    // It may have been tried by the clock just now: then there is nothing to press any more.
    const button = line.getByRole("button", { name: "Try now" });
    await button.click({ timeout: 5_000 }).catch(() => expect(button).toHaveCount(0));
    await expect(line).toContainText(new RegExp(`Webhook to ${host} delivered, .*\\d\\d:\\d\\d:\\d\\d`), { timeout: 60_000 });
    await expect(line.getByRole("button")).toHaveCount(0);
  } finally {
    receiver.close();
  }
});

test("who was away is told on the home page which builds have finished, until they have read it", async ({ page, context, api, stepcast }) => {
  const gate = new Gate(stepcast);
  await api.apply("hi", pipeline("hi", { work: gate.printUntilOpen }));
  await open(page, "/");
  await page.getByRole("button", { name: "Build hi" }).click();
  await expect(page).toHaveTitle("running · hi #1 · Stepcast");
  const id = new URL(page.url()).pathname.split("/").pop() as string;
  await page.close();
  await gate.open();
  await api.finished(id);

  const back = await context.newPage();
  await open(back, "/");
  const strip = back.locator(".results");
  await expect(strip).toContainText("A build that you started has finished while you were away:");
  await expect(strip.getByRole("link", { name: "succeeded hi #1" })).toHaveAttribute("href", `/builds/${id}`);
  await strip.getByRole("button", { name: "Got it" }).click();
  await expect(strip).toHaveCount(0);
  await back.reload();
  await expect(back.getByRole("heading", { name: "Running now" })).toBeVisible();
  await expect(strip).toHaveCount(0);
});
