// The page of the executors: who is there, what each runs, and what it says itself.

import { Gate, pipeline } from "../../fixtures/gate";
import { expect, open, test } from "../../fixtures/stepcast";

test("a build that runs is shown under its executor, and leaves it when it ends", async ({ page, api, stepcast }) => {
  const gate = new Gate(stepcast);
  await api.apply("slow", pipeline("slow", { work: gate.wait }));
  await open(page, "/");
  await page.getByRole("link", { name: "Executors" }).click();
  await expect(page).toHaveTitle("Executors · Stepcast");
  await expect(page.getByRole("link", { name: "Executors" })).toHaveAttribute("aria-current", "page");
  const executor = page.locator(".executor");
  await expect(executor).toHaveCount(1);
  await expect(executor).toContainText(/ex-\w{4} ?alive/);
  await expect(executor.getByRole("list", { name: "Labels" }).getByRole("listitem").first()).toBeVisible();
  await expect(executor).toContainText(/0 of \d+ in use/);
  await expect(executor).toContainText("Nothing runs.");

  await api.trigger("slow");
  const job = executor.getByRole("link", { name: "slow #1 · work" });
  await expect(job).toBeVisible();
  await expect(executor).toContainText(/1 of \d+ in use/);
  await expect(page.locator(".heading")).toContainText(/1 of \d+ slots in use/);

  await gate.open();
  await expect(job).toHaveCount(0);
  await expect(executor).toContainText(/0 of \d+ in use/);
});

test("an executor answers itself, by the names of what it runs, which lead to the build", async ({ page, api, stepcast }) => {
  const gate = new Gate(stepcast);
  await api.apply("slow", pipeline("slow", { work: gate.wait }));
  await open(page, "/executors");
  const executor = page.locator(".executor");
  // Each press brings one answer: what it tells has to be so before.
  const [{ id }] = (await (await api.request("GET", "/executors")).json()) as { id: string }[];
  const now = () => api.request("GET", `/executors/${id}/now`);
  await expect.poll(async () => (await now()).status).toBe(200);
  await executor.getByRole("button", { name: /^Ask it now/ }).click();
  await expect(executor.getByRole("status")).toHaveText(/^It answers: nothing runs, \d+ slots? (is|are) free\. Disk: .+ free\. Load: [\d.]+\.$/);

  await api.trigger("slow");
  await expect(executor.getByRole("link", { name: "slow #1 · work" })).toBeVisible();
  const step = async () => ((await (await now()).json()) as { attempts?: { step?: { name: string } }[] }).attempts?.[0]?.step?.name;
  await expect.poll(step).toBe("work");
  await executor.getByRole("button", { name: /^Ask it now/ }).click();
  await expect(executor.getByRole("status")).toHaveText(/^It answers: 1 of \d+ in use, by slow #1 · work \(step .+\)\. Disk: /);
  await executor.getByRole("link", { name: "slow #1 · work" }).click();
  await expect(page).toHaveTitle("running · slow #1 · Stepcast");
  await gate.open();
});

test("a job that waits for labels that nobody offers leads to the executors", async ({ page, api }) => {
  await api.apply("odd", pipeline("odd", { work: { labels: ["no-such-label"], steps: [{ run: "true" }] } }));
  await open(page, `/builds/${await api.trigger("odd")}`);
  await page.getByRole("link", { name: "All executors" }).click();
  await expect(page).toHaveTitle("Executors · Stepcast");
});

test.describe("an executor that does not answer", () => {
  test("says so in one sentence", async ({ page, expectedComplaints }) => {
    expectedComplaints.push(/status of 504/);
    await page.route("**/api/v1/executors/*/now", (route) =>
      route.fulfill({ status: 504, contentType: "application/problem+json", body: JSON.stringify({ type: "about:blank", title: "No answer", status: 504, detail: "It does not answer." }) }),
    );
    await open(page, "/executors");
    await page.getByRole("button", { name: /^Ask it now/ }).click();
    await expect(page.locator(".executor").getByRole("status")).toHaveText("It does not answer.");
    await expect(page.getByRole("button", { name: /^Ask it now/ })).toBeEnabled();
  });
});

test.describe("without scripts", () => {
  test.use({ javaScriptEnabled: false });

  test("the page reads, with what runs", async ({ page, api, stepcast, expectedComplaints }) => {
    expectedComplaints.push(/was preloaded using link preload but not used/);
    const gate = new Gate(stepcast);
    await api.apply("slow", pipeline("slow", { work: gate.wait }));
    const build = await api.trigger("slow");
    await api.until(build, ({ state }) => state === "running", "running");
    await page.goto("/executors");
    await expect(page).toHaveTitle("Executors · Stepcast");
    await expect(page.locator(".executor")).toContainText(/1 of \d+ in use/);
    await expect(page.getByText("stepcast serve --roles executor")).toBeVisible();
    await expect(page.getByRole("button", { name: /^Ask it now/ })).toHaveCount(0);
    await page.getByRole("link", { name: "slow #1 · work" }).click();
    await expect(page).toHaveTitle("running · slow #1 · Stepcast");
    await gate.open();
  });
});

test.describe("an executor that runs steps without a sandbox", () => {
  test.use({ serve: { arguments: ["--isolation", "plain"], environment: {} } });

  test("says in plain words what steps can read, and so does each job's log", async ({ page, api }) => {
    await api.apply("plain", pipeline("plain", { work: "true" }));
    await open(page, "/executors");
    await expect(page.locator(".executor")).toContainText("Steps run without a sandbox: they can read what the executor's user can read.");
    await open(page, `/builds/${await api.trigger("plain")}`);
    await expect(page).toHaveTitle("succeeded · plain #1 · Stepcast");
    await expect(page.getByText(/on ex-\w{4}, without a sandbox/)).toBeVisible();
  });
});
