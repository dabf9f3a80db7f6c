// A build's page, as one of its pipeline's: the ways to those before and after it, and how long it takes beside them.

import { Gate, pipeline } from "../../fixtures/gate";
import { expect, open, test } from "../../fixtures/stepcast";

test("links and keys lead to the build before and to the next one, which appears when it comes", async ({ page, api }) => {
  await api.apply("often", pipeline("often", { work: "true" }));
  await api.apply("other", pipeline("other", { work: "true" }));
  const builds = [];
  for (let count = 0; count < 2; count++) builds.push(await api.trigger("often"));
  await api.trigger("other");
  await open(page, `/builds/${builds[1]}`);

  const before = page.getByRole("link", { name: /^Build before/ });
  const next = page.getByRole("link", { name: /^Next build/ });
  await expect(next).toHaveAccessibleName("Next build: none");
  await expect(next).toBeDisabled();
  await expect(page).toHaveTitle(/^succeeded/);
  const place = await next.boundingBox();
  builds.push(await api.trigger("often"));
  await expect(next).toHaveAccessibleName("Next build: #3");
  expect(await next.boundingBox(), "it keeps its place").toEqual(place);

  await page.keyboard.press("[");
  await expect(page).toHaveURL(new RegExp(`${builds[0]}$`));
  await expect(before).toHaveAccessibleName("Build before: none");
  await page.keyboard.press("[");
  await next.click();
  await expect(page).toHaveURL(new RegExp(`${builds[1]}$`));
  await expect(before).toHaveAccessibleName("Build before: #1");
  await page.keyboard.press("]");
  await expect(page).toHaveURL(new RegExp(`${builds[2]}$`));
  await expect(page.getByRole("heading", { name: "often #3" })).toBeVisible();

  await page.keyboard.press("?");
  await expect(page.getByRole("dialog")).toContainText("Build before, of the same pipeline");
});

test("what is usual is told while a build runs, and that it takes longer, and nothing moves", async ({ page, api, stepcast }) => {
  const gate = new Gate(stepcast);
  const steps = [{ name: "work", run: `[ "$INPUT_LONG" = no ] || ${gate.wait}` }];
  const inputs = { long: { default: "no" } };
  await api.apply("work", JSON.stringify({ ...JSON.parse(pipeline("work", { work: { steps } })), inputs }));
  const first = await api.trigger("work");
  await api.finished(first);
  await open(page, `/builds/${first}`);
  await expect(page.locator(".estimate")).toHaveCount(0);

  await open(page, `/builds/${await api.trigger("work", { long: "yes" })}`);
  const usually = page.locator(".estimate .as-usual");
  const longer = page.locator(".estimate .than-usual");
  const bar = page.locator(".estimate-track");
  await expect(usually).toHaveText(/^usually \d/);
  await expect(longer).toHaveText(/^longer than usual \(\d/);
  const places = async () => [await page.locator(".facts").boundingBox(), await page.locator(".facts > div").nth(1).boundingBox()];
  await expect(page).toHaveTitle(/^running/);
  const before = await places();
  await expect(longer).toBeVisible({ timeout: 60_000 });
  await expect(usually).toBeHidden();
  await expect(bar).toBeVisible();
  expect(await places()).toEqual(before);

  await gate.open();
  await expect(page).toHaveTitle(/^succeeded/);
  await expect(usually).toBeVisible();
  await expect(bar).toBeHidden();
  expect(await places()).toEqual(before);
});

test("the steps stand under the time of their job", async ({ page, api }) => {
  await api.apply("steps", pipeline("steps", { work: { steps: [{ run: "sleep 0.2" }, { run: "sleep 0.2" }] } }));
  const build = await api.trigger("steps");
  await api.finished(build);
  await open(page, `/builds/${build}`);
  const marks = page.locator(".step-axis span");
  await expect(marks).toHaveCount(3);
  const whole = (await page.locator(".job-row .duration").textContent()) as string;
  await expect(marks).toHaveText(["0", /^(\d+ ms|\d+(\.\d)? s)$/, whole]);
  const [axis, track] = [await page.locator(".step-axis").boundingBox(), await page.locator(".step-track").first().boundingBox()];
  const inner = await page.locator(".step-axis").evaluate((axis) => parseFloat(getComputedStyle(axis).paddingLeft));
  expect(Math.abs((axis?.x ?? 0) + inner - (track?.x ?? 0)), "it begins where the bars do").toBeLessThan(1);
});
