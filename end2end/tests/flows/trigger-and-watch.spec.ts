// A person starts a build from its pipeline's form and watches it to the end.

import { recordFrames } from "../../fixtures/frames";
import { Gate, pipeline } from "../../fixtures/gate";
import { expectEachLineOnce, line, reaches } from "../../fixtures/log";
import { expect, open, test } from "../../fixtures/stepcast";

test("p4_the one who asked is called back on the socket that it named, without subscribing", async ({ page, api, stepcast }) => {
  const gate = new Gate(stepcast);
  const script = `echo "$INPUT_GREETING"; ${gate.printUntilOpen}`;
  const inputs = { greeting: { description: "What to say" } };
  await api.apply("greet", JSON.stringify({ ...JSON.parse(pipeline("greet", { work: script })), inputs }));
  const frames = recordFrames(page);
  await open(page, "/");
  await page.getByRole("link", { name: "Build greet: asks for inputs" }).click();
  await page.getByLabel("greeting").fill("Good morning");

  const asked = page.waitForRequest((request) => request.method() === "POST" && request.url().endsWith("/pipelines/greet/builds"));
  await page.getByRole("main").getByRole("button", { name: "Build" }).click();
  const body = (await asked).postDataJSON() as { inputs: unknown; socket: unknown };
  const hello = frames.received.find((frame) => frame.type === "hello");
  expect(body.inputs).toEqual({ greeting: "Good morning" });
  expect(body.socket).toEqual({ client_id: hello?.client_id, server_id: hello?.server_id });

  await reaches(page, 30);
  await expect(page).toHaveTitle("running · greet #1 · Stepcast");
  await gate.open();
  await expect(page).toHaveTitle("succeeded · greet #1 · Stepcast");
  await expect(page.locator(".build-heading .status")).toHaveText("succeeded");
  await page.getByRole("button", { name: "Top" }).click();
  await expect(line(page, "Good morning")).toBeInViewport();

  const id = new URL(page.url()).pathname.split("/").pop() as string;
  const build = await api.finished(id);
  const topics = [`build.${id}`, `job.${build.jobs[0].id}`];
  const subscribed = frames.sent.filter((frame) => frame.type === "subscribe" && topics.includes(String(frame.topic)));
  expect(subscribed).toEqual([]);
  for (const topic of topics) {
    const offsets = frames.received.filter((frame) => frame.type === "event" && frame.topic === topic).map((frame) => frame.offset);
    expect(offsets, topic).toEqual(offsets.map((_, n) => n + Number(offsets[0])));
    expect(offsets.length, topic).toBeGreaterThan(2);
  }
});

test("p3_of two tabs of which one only watches, both show each line once", async ({ page, context, api, stepcast }) => {
  const gate = new Gate(stepcast);
  await api.apply("talk", pipeline("talk", { work: gate.printUntilOpen }));
  await open(page, "/");
  await page.getByRole("button", { name: "Build talk" }).click();
  await expect(page).toHaveURL(/\/builds\//);

  const watcher = await context.newPage();
  const frames = recordFrames(watcher);
  await open(watcher, page.url());
  const id = new URL(page.url()).pathname.split("/").pop() as string;
  await expect.poll(() => frames.sent.some((frame) => frame.type === "subscribe" && frame.topic === `build.${id}`)).toBe(true);
  for (const tab of [page, watcher]) await reaches(tab, 60);

  await gate.open();
  const { jobs } = await api.finished(id);
  const record = await api.logToItsEnd(jobs[0].id);
  for (const tab of [page, watcher]) {
    await expect(tab).toHaveTitle("succeeded · talk #1 · Stepcast");
    await tab.bringToFront();
    await expectEachLineOnce(tab, record);
  }
});
