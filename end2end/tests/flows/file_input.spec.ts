// A person gives a file to a build: it is sent as soon as it is chosen, and the build starts with its claim check.

import { pipeline } from "../../fixtures/gate";
import { line } from "../../fixtures/log";
import { expect, open, test } from "../../fixtures/stepcast";

const script = 'wc -c < "$INPUT_DATA"; sha256sum < "$INPUT_DATA"';
const inputs = { data: { type: "file", description: "What to add up" }, note: { default: "none" } };
const SHA256_OF_A_MILLION_A = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

test("file_input a file is uploaded first and the steps get its path", async ({ page, api }) => {
  await api.apply("sum", JSON.stringify({ ...JSON.parse(pipeline("sum", { work: script })), inputs }));
  await open(page, "/pipelines/sum");
  const uploaded = page.waitForResponse((response) => response.url().endsWith("/api/v1/payloads"));
  const buffer = Buffer.alloc(1_000_000, "a");
  await page.getByLabel("data").setInputFiles({ name: "data.txt", mimeType: "text/plain", buffer });
  const check = (await (await uploaded).json()) as { ref: string; size: number; sha256: string; content_type: string };
  expect(check).toMatchObject({ size: 1_000_000, sha256: SHA256_OF_A_MILLION_A, content_type: "text/plain" });

  const asked = page.waitForRequest((request) => request.method() === "POST" && request.url().endsWith("/pipelines/sum/builds"));
  await page.getByRole("main").locator(".trigger").getByRole("button", { name: "Build" }).click();
  const body = (await asked).postDataJSON() as { inputs: { data: string; note: string } };
  expect(JSON.parse(body.inputs.data)).toEqual(check);
  expect(body.inputs.note).toBe("none");
  await expect(page).toHaveTitle("succeeded · sum #1 · Stepcast");
  await expect(line(page, "1000000")).toBeVisible();
  await expect(line(page, `${SHA256_OF_A_MILLION_A}  -`)).toBeVisible();
});

test("file_input a file that cannot be sent is told, and nothing starts until one is whole", async ({ page, api, expectedComplaints }) => {
  expectedComplaints.push(/status of 413/);
  await api.apply("sum", JSON.stringify({ ...JSON.parse(pipeline("sum", { work: script })), inputs }));
  await open(page, "/pipelines/sum");
  const build = page.getByRole("main").locator(".trigger").getByRole("button", { name: "Build" });
  let answer = () => {};
  const held = new Promise<void>((resolve) => (answer = resolve));
  await page.route("**/api/v1/payloads", async (route) => {
    await held;
    await route.fulfill({ status: 413, contentType: "application/problem+json", body: JSON.stringify({ status: 413, title: "Too large", detail: "The body is longer than 1 KiB." }) });
  });
  await page.getByLabel("data").setInputFiles({ name: "a", mimeType: "text/plain", buffer: Buffer.from("a") });
  await expect(page.getByRole("progressbar", { name: "Sending data" })).toBeVisible();
  await expect(build).toBeDisabled();
  answer();
  await expect(page.getByText("The body is longer than 1 KiB.")).toBeVisible();
  await expect(build).toBeEnabled();
  await page.unroute("**/api/v1/payloads");
  const uploaded = page.waitForResponse((response) => response.url().endsWith("/api/v1/payloads") && response.status() === 201);
  await page.getByLabel("data").setInputFiles({ name: "b", mimeType: "text/plain", buffer: Buffer.from("bb") });
  await uploaded;
  await build.click();
  await expect(page).toHaveTitle("succeeded · sum #1 · Stepcast");
});
