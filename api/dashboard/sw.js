/** The service worker: shows a push message, and opens the page of its instance. */
addEventListener("push", (event) => {
  const { kind, instance, url } = event.data.json();
  event.waitUntil(registration.showNotification(instance ? `${instance}: ${kind}` : "Sagaline: messages arrive", { tag: instance, data: url }));
});
addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(clients.openWindow(event.notification.data));
});
