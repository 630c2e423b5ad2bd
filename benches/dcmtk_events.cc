// N-EVENT-REPORT from DCMTK to DCMTK: DcmSCU sends, DcmSCP receives.
//
//     dcmtk_events serve PORT
//     dcmtk_events send PORT EVENTS
//
// The sender prints the seconds from the first request to the last response.

#include <dcmtk/config/osconfig.h>
#include <dcmtk/dcmdata/dctk.h>
#include <dcmtk/dcmnet/scp.h>
#include <dcmtk/dcmnet/scu.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

const char *const SOP_CLASS = "1.2.840.10008.1.20.1";
const char *const SOP_INSTANCE = "1.2.840.10008.1.20.1.1";

OFList<OFString> transfer_syntaxes() {
    OFList<OFString> syntaxes;
    syntaxes.push_back(UID_LittleEndianImplicitTransferSyntax);
    return syntaxes;
}

class Receiver : public DcmSCP {
  protected:
    OFCondition handleIncomingCommand(T_DIMSE_Message *message,
                                      const DcmPresentationContextInfo &context) override {
        if (message->CommandField != DIMSE_N_EVENT_REPORT_RQ)
            return DcmSCP::handleIncomingCommand(message, context);
        DcmDataset *data_set = nullptr;
        Uint16 event_type = 0;
        OFCondition handled = handleEVENTREPORTRequest(
            message->msg.NEventReportRQ, context.presentationContextID, data_set, event_type);
        delete data_set;
        return handled;
    }
};

int serve(Uint16 port) {
    Receiver receiver;
    receiver.setPort(port);
    receiver.setAETitle("DCMTK");
    // The association requestor is the SCP of the events.
    receiver.addPresentationContext(SOP_CLASS, transfer_syntaxes(), ASC_SC_ROLE_SCUSCP);
    return receiver.listen().good() ? 0 : 1;
}

int send(Uint16 port, unsigned long events) {
    DcmSCU sender;
    sender.setAETitle("SENDER");
    sender.setPeerAETitle("DCMTK");
    sender.setPeerHostName("127.0.0.1");
    sender.setPeerPort(port);
    sender.addPresentationContext(SOP_CLASS, transfer_syntaxes(), ASC_SC_ROLE_SCP);
    if (sender.initNetwork().bad() || sender.negotiateAssociation().bad())
        return 1;
    const T_ASC_PresentationContextID context = sender.findPresentationContextID(
        SOP_CLASS, UID_LittleEndianImplicitTransferSyntax, ASC_SC_ROLE_SCP);
    DcmDataset data_set;
    // 100 bytes in Implicit VR Little Endian.
    data_set.putAndInsertString(DCM_TextValue, std::string(92, 'x').c_str());
    const auto begin = std::chrono::steady_clock::now();
    for (unsigned long event = 0; event < events; event++) {
        Uint16 status = 0xFFFF;
        const OFCondition sent =
            sender.sendEVENTREPORTRequest(context, SOP_INSTANCE, 1, &data_set, status);
        if (sent.bad() || status != 0)
            return 1;
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    std::printf("%.9f\n", took.count());
    sender.releaseAssociation();
    return 0;
}

}  // namespace

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    OFLog::configure(OFLogger::ERROR_LOG_LEVEL);
    const Uint16 port = static_cast<Uint16>(std::atoi(argv[2]));
    return argc == 4 ? send(port, std::strtoul(argv[3], nullptr, 10)) : serve(port);
}
