// What a person had typed before the page was taken over by its scripts was erased: each field was given what the server knew.

import { connection, expect, test } from "../../fixtures/stepcast";

const MAIN = /\/stepcast\w*\.wasm$/;

for (const { address, label, text } of [
  { address: "/audit", label: "By whom", text: "Ada" },
  { address: "/search", label: "Words in logs and builds", text: "timeout" },
  { address: "/tokens", label: "What it is for", text: "nightly" },
]) {
  test(`what is typed before ${address} is live stays`, async ({ page }) => {
    let release = (): void => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    let isHeld = false;
    await page.route(MAIN, async (route) => {
      isHeld = true;
      await held;
      await route.continue();
    });
    await page.goto(address, { waitUntil: "commit" });
    const field = page.getByLabel(label);
    await field.fill(text);
    await expect.poll(() => isHeld).toBe(true);
    await expect(connection(page)).not.toHaveText(/^live/);
    release();
    await expect(connection(page)).toHaveText(/^live/);
    await expect(field).toHaveValue(text);
    if (address !== "/tokens") return;
    // And the page knows of it.
    await page.getByLabel("Role everywhere").selectOption("viewer");
    await page.getByRole("button", { name: "Make a token" }).click();
    const row = page.getByRole("list", { name: "Tokens" }).getByRole("listitem").filter({ hasText: text });
    await expect(row).toContainText("viewer everywhere, made by Ada");
  });
}
