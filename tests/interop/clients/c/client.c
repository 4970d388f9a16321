// The scenario program for libnats, the C client. It obeys the line protocol of ../../README.md and decides nothing itself.

#include <nats/nats.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS_MAX 16
#define NAMES_MAX 16
#define TEXT_MAX 1024

struct received {
    stanMsg *message;
    struct received *next;
};

struct subscription {
    char name[64];
    bool manual;
    stanSubscription *stan;
    struct received *received;
};

static stanConnection *connection;
static struct subscription subscriptions[NAMES_MAX];
static int subscription_count;

// Held while writing a line, and for the lists of received messages and the counts of acks.
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t acked = PTHREAD_COND_INITIALIZER;
static int acks_missing;
static char ack_error[TEXT_MAX];

static void emit(const char *format, ...)
{
    va_list arguments;

    pthread_mutex_lock(&mutex);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
    pthread_mutex_unlock(&mutex);
}

static char *hex_of(const char *data, int length)
{
    char *text = malloc(2 * (size_t) length + 2);

    if (length == 0)
        strcpy(text, "-");
    for (int i = 0; i < length; i++)
        sprintf(text + 2 * i, "%02x", (unsigned char) data[i]);
    return text;
}

static int digit_of(char character)
{
    return character <= '9' ? character - '0' : character - 'a' + 10;
}

// Decodes in place and returns the length.
static int unhex(char *text)
{
    int length = 0;

    if (strcmp(text, "-") == 0)
        return 0;
    for (; text[2 * length] != '\0'; length++)
        text[length] = (char) (16 * digit_of(text[2 * length]) + digit_of(text[2 * length + 1]));
    return length;
}

static struct subscription *subscription_named(const char *name)
{
    for (int i = 0; i < subscription_count; i++)
        if (strcmp(subscriptions[i].name, name) == 0)
            return &subscriptions[i];
    if (subscription_count == NAMES_MAX) {
        fprintf(stderr, "too many subscriptions\n");
        exit(1);
    }
    snprintf(subscriptions[subscription_count].name, sizeof(subscriptions[0].name), "%s", name);
    return &subscriptions[subscription_count++];
}

static void on_lost(stanConnection *lost, const char *text, void *closure)
{
    emit("lost %s", text);
}

static void on_message(stanConnection *from, stanSubscription *stan, const char *channel, stanMsg *message, void *closure)
{
    struct subscription *subscription = closure;
    char *payload = hex_of(stanMsg_GetData(message), stanMsg_GetDataLength(message));
    unsigned long long sequence = stanMsg_GetSequence(message);
    int redelivered = stanMsg_IsRedelivered(message);

    if (subscription->manual) {
        struct received *entry = malloc(sizeof(*entry));

        pthread_mutex_lock(&mutex);
        entry->message = message;
        entry->next = subscription->received;
        subscription->received = entry;
        pthread_mutex_unlock(&mutex);
    } else {
        stanMsg_Destroy(message);
    }
    emit("message %s %llu %d %s", subscription->name, sequence, redelivered, payload);
    free(payload);
}

static void on_ack(const char *guid, const char *error, void *closure)
{
    pthread_mutex_lock(&mutex);
    if (error != NULL)
        snprintf(ack_error, sizeof(ack_error), "%s", error);
    acks_missing--;
    pthread_cond_signal(&acked);
    pthread_mutex_unlock(&mutex);
}

static natsStatus connect_to(char **words)
{
    natsOptions *nats = NULL;
    stanConnOptions *options = NULL;
    natsStatus status = natsOptions_Create(&nats);

    if (status == NATS_OK)
        status = natsOptions_SetURL(nats, words[0]);
    if (status == NATS_OK)
        status = natsOptions_SetReconnectWait(nats, 100);
    if (status == NATS_OK)
        status = natsOptions_SetReconnectJitter(nats, 0, 0);
    if (status == NATS_OK)
        status = natsOptions_SetMaxReconnect(nats, -1);
    if (status == NATS_OK)
        status = stanConnOptions_Create(&options);
    if (status == NATS_OK)
        status = stanConnOptions_SetNATSOptions(options, nats);
    if (status == NATS_OK)
        status = stanConnOptions_SetConnectionWait(options, 5000);
    if (status == NATS_OK)
        status = stanConnOptions_SetPubAckWait(options, 10000);
    if (status == NATS_OK)
        status = stanConnOptions_SetPings(options, atoi(words[3]), atoi(words[4]));
    if (status == NATS_OK)
        status = stanConnOptions_SetConnectionLostHandler(options, on_lost, NULL);
    if (status == NATS_OK)
        status = stanConnection_Connect(&connection, words[1], words[2], options);
    stanConnOptions_Destroy(options);
    natsOptions_Destroy(nats);
    return status;
}

static natsStatus publish_async(const char *channel, int count, char *prefix)
{
    int length = unhex(prefix);
    char *data = malloc((size_t) length + 16);
    natsStatus status = NATS_OK;

    memcpy(data, prefix, (size_t) length);
    ack_error[0] = '\0';
    acks_missing = count;
    for (int number = 1; status == NATS_OK && number <= count; number++) {
        int digits = sprintf(data + length, "%d", number);

        status = stanConnection_PublishAsync(connection, channel, data, length + digits, on_ack, NULL);
    }
    pthread_mutex_lock(&mutex);
    while (status == NATS_OK && acks_missing > 0)
        pthread_cond_wait(&acked, &mutex);
    pthread_mutex_unlock(&mutex);
    free(data);
    return status == NATS_OK && ack_error[0] != '\0' ? NATS_ERR : status;
}

static natsStatus start_at(stanSubOptions *options, const char *start)
{
    const char *colon = strchr(start, ':');
    long long value = colon == NULL ? 0 : atoll(colon + 1);

    if (strcmp(start, "new") == 0)
        return NATS_OK;
    if (strcmp(start, "last") == 0)
        return stanSubOptions_StartWithLastReceived(options);
    if (strcmp(start, "first") == 0)
        return stanSubOptions_DeliverAllAvailable(options);
    if (strncmp(start, "sequence:", 9) == 0)
        return stanSubOptions_StartAtSequence(options, (uint64_t) value);
    if (strncmp(start, "time:", 5) == 0)
        return stanSubOptions_StartAtTime(options, value);
    if (strncmp(start, "delta:", 6) == 0)
        return stanSubOptions_StartAtTimeDelta(options, value);
    return NATS_INVALID_ARG;
}

static natsStatus subscribe_to(char **words, int count)
{
    struct subscription *subscription = subscription_named(words[0]);
    stanSubOptions *options = NULL;
    const char *queue = NULL;
    natsStatus status = stanSubOptions_Create(&options);

    subscription->manual = false;
    for (int i = 2; status == NATS_OK && i < count; i++) {
        const char *equals = strchr(words[i], '=');
        const char *value = equals == NULL ? "" : equals + 1;

        if (strncmp(words[i], "queue=", 6) == 0) {
            queue = value;
        } else if (strncmp(words[i], "durable=", 8) == 0) {
            status = stanSubOptions_SetDurableName(options, value);
        } else if (strncmp(words[i], "start=", 6) == 0) {
            status = start_at(options, value);
        } else if (strncmp(words[i], "max_in_flight=", 14) == 0) {
            status = stanSubOptions_SetMaxInflight(options, atoi(value));
        } else if (strncmp(words[i], "ack_wait=", 9) == 0) {
            status = stanSubOptions_SetAckWait(options, 1000 * atoll(value));
        } else if (strcmp(words[i], "manual") == 0) {
            subscription->manual = true;
            status = stanSubOptions_SetManualAckMode(options, true);
        } else {
            status = NATS_INVALID_ARG;
        }
    }
    if (status == NATS_OK && queue != NULL)
        status = stanConnection_QueueSubscribe(
            &subscription->stan, connection, words[1], queue, on_message, subscription, options);
    else if (status == NATS_OK)
        status = stanConnection_Subscribe(&subscription->stan, connection, words[1], on_message, subscription, options);
    stanSubOptions_Destroy(options);
    return status;
}

static natsStatus ack(const char *name, uint64_t sequence)
{
    struct subscription *subscription = subscription_named(name);
    struct received *entry;

    pthread_mutex_lock(&mutex);
    entry = subscription->received;
    while (entry != NULL && stanMsg_GetSequence(entry->message) != sequence)
        entry = entry->next;
    pthread_mutex_unlock(&mutex);
    return entry == NULL ? NATS_NOT_FOUND : stanSubscription_AckMsg(subscription->stan, entry->message);
}

static natsStatus obey(char **words, int count)
{
    const char *command = words[0];

    if (strcmp(command, "connect") == 0 && count == 6)
        return connect_to(words + 1);
    if (strcmp(command, "publish") == 0 && count == 3)
        return stanConnection_Publish(connection, words[1], words[2], unhex(words[2]));
    if (strcmp(command, "publish_async") == 0 && count == 4)
        return publish_async(words[1], atoi(words[2]), words[3]);
    if (strcmp(command, "subscribe") == 0 && count >= 3)
        return subscribe_to(words + 1, count - 1);
    if (strcmp(command, "ack") == 0 && count == 3)
        return ack(words[1], strtoull(words[2], NULL, 10));
    if (strcmp(command, "unsubscribe") == 0 && count == 2)
        return stanSubscription_Unsubscribe(subscription_named(words[1])->stan);
    if (strcmp(command, "close_subscription") == 0 && count == 2)
        return stanSubscription_Close(subscription_named(words[1])->stan);
    if (strcmp(command, "close") == 0)
        return stanConnection_Close(connection);
    return NATS_INVALID_ARG;
}

int main(void)
{
    char *line = NULL;
    size_t size = 0;

    while (getline(&line, &size, stdin) > 0) {
        char *words[WORDS_MAX];
        int count = 0;
        natsStatus status;

        for (char *word = strtok(line, " \n"); word != NULL && count < WORDS_MAX; word = strtok(NULL, " \n"))
            words[count++] = word;
        ack_error[0] = '\0';
        status = count == 0 ? NATS_INVALID_ARG : obey(words, count);
        if (status == NATS_OK) {
            emit("ok");
        } else {
            const char *detail = ack_error[0] != '\0' ? ack_error : nats_GetLastError(NULL);

            emit("error %s: %s", natsStatus_GetText(status), detail == NULL ? "" : detail);
        }
    }
    // Other threads may still use what would be freed.
    _exit(0);
}
